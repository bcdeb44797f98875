from __future__ import annotations

import re

import pytest

from accounts.services import webhooks as services
from gaas.lib import clock
from gaas.outbox.models import Webhook, WebhookDelivery
from gaas.outbox.services import tell, webhooks
from gaas.outbox.tests.hooks import a_webhook

pytestmark = pytest.mark.django_db

PUBLIC = "https://93.184.215.14/hook"


@pytest.fixture
def web(client, alice):
    client.force_login(alice)
    return client


@pytest.fixture
def url(lab):
    return f"/accounts/{lab.pk}/webhooks/"


def create(**more):
    return {"do": "create_webhook", "url": PUBLIC, "events": ["task.failed"], "includes_children": "one", **more}


def text(answer, status=200):
    assert answer.status_code == status, answer.content.decode()[-2000:]
    return answer.content.decode()


def secret_of(answer):
    found = re.search(r"whsec_[\w-]{40,}", text(answer))
    return found[0] if found else None


class TestWebhooks:
    def test_it_says_what_to_do_first_and_shows_the_secret_once(self, web, url):
        assert "None yet" in text(web.get(url))
        answer = web.post(url, create(includes_children="below"))
        assert secret_of(answer) == Webhook.objects.get().secret.open()
        assert "no-store" in answer["Cache-Control"]
        assert Webhook.objects.get().includes_children
        assert secret_of(web.get(url)) is None

    def test_an_address_inside_is_refused_beside_its_field(self, web, url):
        shown = text(web.post(url, create(url="https://127.0.0.1/")), 400)
        assert "does not lead to the public internet" in shown
        assert 'value="https://127.0.0.1/"' in shown

    def test_it_says_when_there_are_as_many_as_may_be(self, web, url, lab, settings):
        settings.WEBHOOKS_PER_ACCOUNT = 2
        a_webhook(lab)
        assert "A new webhook" in text(web.get(url))
        a_webhook(lab)
        shown = text(web.get(url))
        assert "These are all 2 that an account may have" in shown
        assert "A new webhook" not in shown
        assert "remove one that nobody needs" in text(web.post(url, create()), 409)

    def test_the_tab_is_for_who_sees_them(self, web, client, bob, lab, url):
        assert url in text(web.get(f"/accounts/{lab.pk}/members/"))
        client.force_login(bob)
        assert url not in text(client.get(f"/accounts/{lab.pk}/members/"))
        assert client.get(url).status_code == 403


class TestOneWebhook:
    @pytest.fixture
    def hook(self, lab):
        return a_webhook(lab)

    @pytest.fixture
    def page(self, url, hook):
        return f"{url}{hook.pk}/"

    def test_it_shows_what_was_sent_and_answered_as_text(self, web, lab, page):
        tell(event="task.completed", account=lab, data={"title": "<script>1</script>"}, now=clock.now())
        ended = {"status": "FAILED", "finished_at": clock.now(), "attempt": 8, "response_status": 503}
        WebhookDelivery.objects.update(
            **ended, response_excerpt="<img src=x onerror=alert(1)>", error="It answered 503"
        )
        shown = text(web.get(page))
        assert "Given up, attempt 8, answered 503" in shown
        assert "&lt;script&gt;" in shown
        assert "<img src=x" not in shown
        assert "<script>1" not in shown

    def test_one_that_ended_is_sent_again(self, web, lab, page):
        tell(event="task.completed", account=lab, data={}, now=clock.now())
        WebhookDelivery.objects.update(status="FAILED", finished_at=clock.now(), attempt=8)
        row = WebhookDelivery.objects.get()
        assert web.post(page, {"do": "redeliver", "of": str(row.pk)}).status_code == 302
        row.refresh_from_db()
        assert row.status == "PENDING"
        assert "on its way still" in text(web.post(page, {"do": "redeliver", "of": str(row.pk)}), 409)

    def test_it_is_changed_rotated_tried_and_removed(self, web, hook, page, url):
        change = {**create(do="change_webhook"), "includes_children": "below"}
        assert web.post(page, change).status_code == 302
        hook.refresh_from_db()
        assert (hook.url, hook.events, hook.includes_children) == (PUBLIC, ["task.failed"], True)
        secret = secret_of(web.post(page, {"do": "rotate_secret", "overlap": "3600"}))
        hook.refresh_from_db()
        assert secret == hook.secret.open()
        web.post(page, {"do": "try_webhook"})
        assert WebhookDelivery.objects.get().event == "ping"
        assert web.post(page, {"do": "delete_webhook"})["Location"] == url
        assert not Webhook.objects.exists()

    def test_it_says_why_it_is_off_and_is_switched_on_again(self, web, hook, page):
        webhooks.disable(webhook_id=hook.pk, reason="Nothing was taken for 5 days.", now=clock.now())
        shown = text(web.get(page))
        assert "Nothing was taken for 5 days." in shown
        assert "Switch it on" in shown
        web.post(page, {"do": "switch_on"})
        hook.refresh_from_db()
        assert (hook.is_active, hook.disabled_reason) == (True, "")
        web.post(page, {"do": "switch_off"})
        assert "Switched off." in text(web.get(page))

    def test_what_staff_switched_off_says_so_and_has_no_button(self, web, dana, hook, page):
        services.disable_webhook(webhook=hook, reason="Abuse", by=dana, now=clock.now())
        shown = text(web.get(page))
        assert "Switched off by the platform's staff" in shown
        assert "Abuse" in shown
        assert "Only they switch it on again." in shown
        assert "Switch it on" not in shown
        assert "Remove it" not in shown
        assert "Change it" not in shown
        assert "Only they let it be removed" in text(web.post(page, {"do": "delete_webhook"}), 403)
        assert "Staff of the platform switched this webhook off" in text(web.post(page, {"do": "switch_on"}), 403)
        hook.refresh_from_db()
        assert not hook.is_active

    def test_it_costs_the_same_however_much_it_was_told(self, web, lab, page, django_assert_max_num_queries):
        for _ in range(5):
            tell(event="task.completed", account=lab, data={}, now=clock.now())
        with django_assert_max_num_queries(12):
            web.get(page)
