"""Webhooks over REST: made, changed, tried, rotated, removed, and what they were told."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connection, connections
from django.test import Client

from accounts.actors import watch_webhooks
from accounts.models import Account
from accounts.services import webhooks as services
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.lib.errors import Conflict, NotAllowed, NotFound
from gaas.lib.net import Guard
from gaas.lib.net.tests.receivers import receiver
from gaas.lib.net.tests.spellings import RESOLVED, WRITTEN
from gaas.outbox.actors import send_webhooks
from gaas.outbox.models import Mail, Webhook, WebhookDelivery
from gaas.outbox.services import tell, webhooks
from gaas.outbox.tests.hooks import a_webhook, inside, is_signed

pytestmark = pytest.mark.django_db

URL = "/api/v1/webhooks/"
PUBLIC = "https://93.184.215.14/hook"


def body(account, **more):
    return {"account": str(account.pk), "url": PUBLIC, "events": ["task.completed", "task.failed"], **more}


def made(client, account, **more):
    answer = client.post(URL, body(account, **more), format="json")
    assert answer.status_code == 201, answer.content
    return answer.json()


def refused(answer, status=400):
    assert answer.status_code == status, answer.content
    (error,) = answer.json()["errors"]
    return error["code"], error["attr"]


@pytest.fixture
def client(alice, api):
    return api(alice)


class TestCreate:
    def test_it_shows_the_secret_once_and_keeps_it_sealed(self, client, lab):
        answer = client.post(URL, body(lab), format="json")
        shown = answer.json()
        assert answer.status_code == 201
        assert answer["Cache-Control"] == "no-store"
        assert shown["secret"].startswith("whsec_")
        assert (shown["account"], shown["is_active"]) == (str(lab.pk), True)
        assert "secret" not in client.get(f"{URL}{shown['id']}/").json()
        with connection.cursor() as cursor:
            cursor.execute("SELECT secret FROM outbox_webhook")
            assert shown["secret"] not in cursor.fetchone()[0]
        event = AuditEvent.objects.get(action="webhook.create")
        assert event.after["url"] == PUBLIC
        assert "whsec_" not in str(event.after)

    def test_what_it_signs_with_is_what_was_shown(self, client, lab, settings):
        settings.WEBHOOK_ALLOWED_NETWORKS, settings.WEBHOOK_ALLOW_HTTP = ["127.0.0.0/8"], True
        with receiver() as hook:
            shown = made(client, lab, url=f"http://127.0.0.1:{hook.port}/")
            lab.refresh_from_db()
            tell(event="task.completed", account=lab, data={}, now=clock.now())
            send_webhooks()
        assert is_signed(hook.received[0], shown["secret"])

    def test_a_key_makes_it_once_and_tells_its_secret_to_nobody_else(self, client, lab):
        headers = {"Idempotency-Key": "once"}
        assert client.post(URL, body(lab), format="json", headers=headers).status_code == 201
        again = client.post(URL, body(lab), format="json", headers=headers)
        assert refused(again, 409) == ("secret_shown_once", None)
        assert Webhook.objects.count() == 1

    def test_no_spelling_of_an_address_inside_is_taken(self, client, lab):
        taken = {}
        for spelling, url in WRITTEN.items():
            cache.clear()  # the throttle's count
            answer = client.post(URL, body(lab, url=url.format(port=8443)), format="json")
            code, attr = refused(answer)
            if attr != "url" or code not in {"url_refused", "control_character", "max_length"}:
                taken[spelling] = answer.content
        assert taken == {}
        assert not Webhook.objects.exists()

    def test_no_name_that_leads_inside_is_taken(self, client, lab, monkeypatch):
        for answer in RESOLVED.values():
            # The tests' own resolver: these machines have no names to ask for.
            monkeypatch.setattr(webhooks, "guard", lambda answer=answer: Guard(resolve=lambda host, port: answer))
            refusal = client.post(URL, body(lab, url="https://hook.example/"), format="json")
            assert refused(refusal) == ("url_refused", "url"), answer
        assert not Webhook.objects.exists()

    @pytest.mark.parametrize(
        ("more", "code", "attr"),
        [
            ({"events": []}, "empty", "events"),
            ({"events": ["task.exploded"]}, "invalid_choice", "events"),
            ({"events": "task.failed"}, "not_a_list", "events"),
            ({"url": 7}, "invalid", "url"),
            ({"secret": "mine"}, "unknown_field", "secret"),
            ({"is_active": False}, "unknown_field", "is_active"),
            ({"includes_children": 1}, "invalid", "includes_children"),
        ],
    )
    def test_bad_input_is_named(self, client, lab, more, code, attr):
        assert refused(client.post(URL, body(lab, **more), format="json")) == (code, attr)

    def test_members_and_staff_may_not(self, bob, dana, charlie, api, lab):
        assert refused(api(bob).post(URL, body(lab), format="json"), 403)[0] == "permission_denied"
        assert refused(api(dana).post(URL, body(lab), format="json"), 403)[0] == "permission_denied"
        assert refused(api(charlie).post(URL, body(lab), format="json"), 404)[0] == "not_found"

    def test_an_account_has_only_so_many(self, client, lab, settings):
        settings.WEBHOOKS_PER_ACCOUNT = 2
        made(client, lab), made(client, lab)
        assert refused(client.post(URL, body(lab), format="json"), 409)[0] == "too_many_webhooks"

    def test_without_an_account_it_is_one_s_own(self, client, alice):
        answer = client.post(URL, {"url": PUBLIC, "events": ["task.failed"]}, format="json")
        assert answer.json()["account"] == str(alice.personal_account.pk)


class TestChange:
    def test_it_leads_elsewhere_and_hears_of_other_things(self, client, lab):
        hook = made(client, lab)
        change = {"url": "https://93.184.215.15/", "events": ["host.trouble"]}
        answer = client.patch(f"{URL}{hook['id']}/", change, format="json")
        assert answer.status_code == 200
        assert {name: answer.json()[name] for name in change} == change
        event = AuditEvent.objects.get(action="webhook.change")
        assert (event.before["url"], event.after["url"]) == (PUBLIC, change["url"])
        assert "is_active" not in event.after

    def test_an_address_inside_is_refused(self, client, lab):
        hook = made(client, lab)
        answer = client.patch(f"{URL}{hook['id']}/", {"url": "https://127.1/"}, format="json")
        assert refused(answer) == ("url_refused", "url")

    def test_on_again_it_begins_without_its_failures(self, client, lab):
        hook = made(client, lab)
        now = clock.now()
        webhooks.disable(webhook_id=hook["id"], reason="It failed.", now=now)
        Webhook.objects.update(failures=9, failing_since=now, rest_until=now)
        assert client.get(f"{URL}{hook['id']}/").json()["disabled_reason"] == "It failed."
        shown = client.patch(f"{URL}{hook['id']}/", {"is_active": True}, format="json").json()
        assert (shown["is_active"], shown["disabled_reason"], shown["failures"]) == (True, "", 0)
        assert (shown["disabled_at"], shown["failing_since"]) == (None, None)

    def test_removed_it_takes_its_deliveries_along(self, client, lab):
        hook = made(client, lab)
        client.post(f"{URL}{hook['id']}/test/")
        assert client.delete(f"{URL}{hook['id']}/").status_code == 204
        assert not WebhookDelivery.objects.exists()
        assert client.get(f"{URL}{hook['id']}/").status_code == 404
        assert AuditEvent.objects.filter(action="webhook.delete").exists()


class TestRotate:
    def test_both_sign_for_the_overlap(self, client, lab):
        with receiver() as there:
            hook = made(client, lab)
            Webhook.objects.update(url=f"http://hook.example:{there.port}/")
            answer = client.post(f"{URL}{hook['id']}/rotate-secret/", {"overlap_seconds": 60}, format="json")
            assert answer.status_code == 201
            assert answer["Cache-Control"] == "no-store"
            client.post(f"{URL}{hook['id']}/test/")
            webhooks.send_due(guard=inside)
        assert is_signed(there.received[0], hook["secret"])
        assert is_signed(there.received[0], answer.json()["secret"])
        assert AuditEvent.objects.filter(action="webhook.rotate_secret").exists()


class TestDeliveries:
    @pytest.fixture
    def hook(self, lab):
        return a_webhook(lab)

    def test_they_say_what_became_of_each(self, client, lab, hook, django_assert_num_queries):
        with receiver() as there:
            Webhook.objects.update(url=f"http://hook.example:{there.port}/")
            for _ in range(3):
                tell(event="task.completed", account=lab, data={"n": 1}, now=clock.now())
            webhooks.send_due(guard=inside)
        client.get(f"{URL}{hook.pk}/deliveries/")
        # Who calls, what they may (2), the webhook, the page.
        with django_assert_num_queries(5):
            rows = client.get(f"{URL}{hook.pk}/deliveries/?status=SUCCEEDED").json()["results"]
        assert len(rows) == 3
        assert rows[0]["response_status"] == 200
        assert rows[0]["next_attempt_at"] is None
        one = client.get(f"{URL}{hook.pk}/deliveries/{rows[0]['id']}/").json()
        assert one["payload"]["data"] == {"n": 1}
        assert client.get(f"{URL}{hook.pk}/deliveries/?status=FAILED").json()["results"] == []

    def test_one_that_ended_is_sent_again(self, client, lab, hook):
        tell(event="task.completed", account=lab, data={}, now=clock.now())
        path = f"{URL}{hook.pk}/deliveries/{WebhookDelivery.objects.get().pk}/redeliver/"
        assert refused(client.post(path), 409) == ("wrong_state", "status")
        WebhookDelivery.objects.update(status="FAILED", finished_at=clock.now(), attempt=8)
        shown = client.post(path).json()
        assert (shown["status"], shown["attempt"]) == ("PENDING", 8)
        assert shown["next_attempt_at"] is not None

    def test_none_is_sent_for_ever(self, client, lab, hook):
        tell(event="task.completed", account=lab, data={}, now=clock.now())
        WebhookDelivery.objects.update(status="FAILED", finished_at=clock.now(), attempt=webhooks.MOST_CALLS)
        path = f"{URL}{hook.pk}/deliveries/{WebhookDelivery.objects.get().pk}/redeliver/"
        assert refused(client.post(path), 409) == ("wrong_state", "attempt")

    def test_a_trial_of_one_that_is_off_is_refused(self, client, hook):
        Webhook.objects.update(is_active=False)
        assert refused(client.post(f"{URL}{hook.pk}/test/"), 409) == ("wrong_state", "is_active")


class TestDisabled:
    def test_its_managers_get_one_letter(self, alice, bob, lab):
        hook = a_webhook(lab)
        webhooks.disable(webhook_id=hook.pk, reason="It answered 410.", now=clock.now())
        watch_webhooks(), watch_webhooks()
        letter = Mail.objects.get()
        assert letter.to == alice.email
        assert "It answered 410." in letter.body
        assert f"/accounts/{lab.pk}/webhooks/{hook.pk}/" in letter.body

    def test_staff_switch_one_off_with_a_reason(self, dana, bob, lab):
        hook = a_webhook(lab)
        with pytest.raises(NotAllowed):
            services.disable_webhook(webhook=hook, reason="Abuse", by=bob, now=clock.now())
        services.disable_webhook(webhook=hook, reason="Abuse", by=dana, now=clock.now())
        hook.refresh_from_db()
        assert (hook.is_active, hook.disabled_reason) == (False, "Abuse")
        assert AuditEvent.objects.get(action="webhook.disable").reason == "Abuse"

    def test_what_staff_switched_off_staff_alone_switch_on(self, client, alice, bob, dana, lab):
        hook = a_webhook(lab)
        services.disable_webhook(webhook=hook, reason="Abuse", by=dana, now=clock.now())
        path = f"{URL}{hook.pk}/"
        answer = client.patch(path, {"is_active": True}, format="json")
        assert refused(answer, 403) == ("disabled_by_staff", "is_active")
        assert "Abuse" in answer.json()["errors"][0]["detail"]
        # Neither by switching it off oneself first, nor along with something else, which is left undone then.
        assert client.patch(path, {"is_active": False}, format="json").status_code == 200
        assert refused(client.patch(path, {"is_active": True, "events": ["task.failed"]}, format="json"), 403)
        shown = client.get(path).json()
        assert (shown["is_active"], shown["is_disabled_by_staff"]) == (False, True)
        assert (shown["disabled_reason"], shown["events"]) == ("Abuse", ["task.completed"])
        with pytest.raises(NotAllowed):
            services.enable_webhook(webhook=hook, by=alice, now=clock.now())
        Webhook.objects.update(failures=9, failing_since=clock.now())
        services.enable_webhook(webhook=hook, by=dana, now=clock.now())
        shown = client.get(path).json()
        assert (shown["is_active"], shown["is_disabled_by_staff"], shown["failures"]) == (True, False, 0)
        assert (shown["disabled_reason"], shown["disabled_at"]) == ("", None)
        assert AuditEvent.objects.get(action="webhook.enable").before == {"disabled_reason": "Abuse"}
        # Off and on again it is its managers' own affair.
        for is_active in (False, True):
            assert client.patch(path, {"is_active": is_active}, format="json").status_code == 200

    def test_what_staff_switched_off_is_not_made_anew(self, client, alice, dana, lab):
        elsewhere, desk = "https://93.184.215.15/", Account.objects.create(name="Desk", parent=lab)
        hook, other = a_webhook(lab, url=PUBLIC), made(client, lab, url=elsewhere)
        services.disable_webhook(webhook=hook, reason="Abuse", by=dana, now=clock.now())
        path = f"{URL}{hook.pk}/"
        assert refused(client.delete(path), 403) == ("disabled_by_staff", None)
        for url in (PUBLIC, f"{PUBLIC}?again", f"{PUBLIC}#again", "HTTPS://93.184.215.14:443/hook"):
            for account in (lab, desk):
                again = client.post(URL, body(account, url=url), format="json")
                assert refused(again, 403) == ("disabled_by_staff", "url"), url
            moved = client.patch(f"{URL}{other['id']}/", {"url": url}, format="json")
            assert refused(moved, 403) == ("disabled_by_staff", "url")
        # Nor is its address made free first.
        assert refused(client.patch(path, {"url": elsewhere}, format="json"), 403) == ("disabled_by_staff", "url")
        assert set(Webhook.objects.values_list("url", flat=True)) == {PUBLIC, elsewhere}
        # What leads there for others is theirs.
        assert made(client, alice.personal_account)["url"] == PUBLIC
        services.enable_webhook(webhook=hook, by=dana, now=clock.now())
        assert client.delete(path).status_code == 204

    def test_one_that_was_removed_meanwhile_is_not_found(self, alice, dana, lab):
        hook = a_webhook(lab)
        services.delete_webhook(webhook=hook, by=alice, now=clock.now())
        how = {"webhook": hook, "now": clock.now()}
        for late in (
            lambda: services.change_webhook(changes={"is_active": False}, by=alice, **how),
            lambda: services.rotate_webhook_secret(overlap=timedelta(), by=alice, **how),
            lambda: services.delete_webhook(by=alice, **how),
            lambda: services.enable_webhook(by=dana, **how),
        ):
            with pytest.raises(NotFound):
                late()

    @pytest.mark.parametrize("by_whom", ["a manager", "the platform"])
    def test_staff_switch_off_for_good_what_is_off_already(self, client, dana, lab, by_whom):
        hook = a_webhook(lab, is_active=by_whom == "the platform")
        if by_whom == "the platform":
            webhooks.disable(webhook_id=hook.pk, reason="It answered 410.", now=clock.now())
        services.disable_webhook(webhook=hook, reason="Abuse", by=dana, now=clock.now())
        assert refused(client.patch(f"{URL}{hook.pk}/", {"is_active": True}, format="json"), 403)
        with pytest.raises(Conflict):
            services.disable_webhook(webhook=hook, reason="Again", by=dana, now=clock.now())

    def test_what_staff_did_not_switch_off_is_not_theirs_to_switch_on(self, dana, lab):
        hook = a_webhook(lab, is_active=False)
        with pytest.raises(Conflict):
            services.enable_webhook(webhook=hook, by=dana, now=clock.now())

    def test_its_managers_are_told_who_may(self, alice, dana, lab):
        services.disable_webhook(webhook=a_webhook(lab), reason="Abuse", by=dana, now=clock.now())
        watch_webhooks()
        letter = Mail.objects.get(to=alice.email)
        assert "Only the platform's staff switch it on again" in letter.body
        assert "Dana" not in letter.body

    def test_it_is_switched_off_and_on_in_the_admin(self, dana, lab):
        hook = a_webhook(lab)
        web = Client()
        web.force_login(dana)
        page = f"/admin/outbox/webhook/{hook.pk}"
        assert "Switch on" not in web.get(f"{page}/change/").content.decode()
        web.post(f"{page}/disable/", {"reason": "Abuse"})
        hook.refresh_from_db()
        assert hook.disabled_by == dana
        shown = web.get(f"{page}/change/").content.decode()
        assert "Switch on" in shown
        assert "Switch off" not in shown
        web.post(f"{page}/enable/", {})
        hook.refresh_from_db()
        assert (hook.is_active, hook.disabled_by) == (True, None)

    def test_in_the_admin(self, client, dana, lab):
        hook = a_webhook(lab)
        tell(event="task.completed", account=lab, data={}, now=clock.now())
        web = Client()
        web.force_login(dana)
        for model in ("webhook", "webhookdelivery"):
            row = {"webhook": hook, "webhookdelivery": WebhookDelivery.objects.get()}[model]
            assert web.get(f"/admin/outbox/{model}/").status_code == 200
            ids = {"webhook": [lab.pk], "webhookdelivery": [row.pk, getattr(row, "event_id", None), hook.pk]}[model]
            for asked, found in [*((id_, 1) for id_ in ids), (row.pk, 1), (dana.pk, 0), ("https://", 0)]:
                listed = web.get(f"/admin/outbox/{model}/", {"q": asked})
                assert (listed.status_code, len(listed.context["cl"].result_list)) == (200, found), (model, asked)
            page = web.get(f"/admin/outbox/{model}/{row.pk}/change/")
            assert page.status_code == 200
            assert "whsec_" not in page.content.decode()


class TestLimit:
    pytestmark = pytest.mark.django_db(transaction=True)

    def test_parallel_calls_do_not_pass_it_together(self, alice, lab, settings):
        if connection.vendor != "postgresql":
            pytest.skip("threads with connections of their own want PostgreSQL")
        settings.WEBHOOKS_PER_ACCOUNT = 3
        start, results = threading.Barrier(8), []

        def create():
            start.wait()
            try:
                services.create_webhook(account=lab, url=PUBLIC, events=["task.failed"], by=alice, now=clock.now())
                results.append("made")
            except services.TooManyWebhooks:
                results.append("refused")
            finally:
                connections.close_all()

        threads = [threading.Thread(target=create) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results) == ["made"] * 3 + ["refused"] * 5


def test_a_network_that_is_let_in_is_taken_at_the_write(client, lab, settings):
    settings.WEBHOOK_ALLOWED_NETWORKS = ["10.0.0.0/8"]
    assert made(client, lab, url="https://10.1.2.3:8443/in")["url"] == "https://10.1.2.3:8443/in"


def test_the_overlap_ends(alice, lab):
    hook = a_webhook(lab)
    services.rotate_webhook_secret(webhook=hook, overlap=timedelta(), by=alice, now=clock.now())
    hook.refresh_from_db()
    assert len(hook.secrets_at(clock.now())) == 1
