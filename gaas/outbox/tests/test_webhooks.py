"""Telling webhooks: rows with the deed, calls after it, again until they are taken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection, connections, transaction

from accounts.ledger.tests.test_crash import database_url
from accounts.models import Account
from gaas.lib import clock
from gaas.lib.errors import Conflict
from gaas.lib.net import Guard
from gaas.lib.net.tests import receivers
from gaas.lib.net.tests.receivers import receiver, says
from gaas.lib.sealed import Sealed, seal
from gaas.outbox.actors import send_webhooks, sweep_webhooks
from gaas.outbox.models import Webhook, WebhookDelivery
from gaas.outbox.services import tell, webhooks
from gaas.outbox.signing import signature
from gaas.outbox.tests.hooks import SECRET, a_webhook, inside, is_signed

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[3]
PUBLIC = "93.184.215.14"


def told(account, event="task.completed", **more):
    return tell(event=event, account=account, data={"n": 1}, now=clock.now(), **more)


def send(guard=None):
    return webhooks.send_due(guard=lambda: guard or inside())


def make_due():
    """Let time pass until the next attempt."""
    WebhookDelivery.objects.pending().update(due_at=clock.now())
    Webhook.objects.update(rest_until=None, busy_until=None)


class TestTell:
    def test_it_stores_a_row_for_who_listens(self, lab):
        heard = a_webhook(lab)
        a_webhook(lab, events=["task.failed"])
        a_webhook(lab, is_active=False)
        assert told(lab) == 1
        delivery = WebhookDelivery.objects.get()
        assert (delivery.webhook, delivery.status, delivery.attempt) == (heard, "PENDING", 0)
        body = json.loads(delivery.body)
        assert body == {
            "id": str(delivery.event_id),
            "type": "task.completed",
            "created_at": body["created_at"],
            "account": str(lab.pk),
            "data": {"n": 1},
        }

    def test_all_that_hear_of_one_event_get_its_one_id(self, lab):
        a_webhook(lab), a_webhook(lab)
        assert told(lab) == 2
        assert len(set(WebhookDelivery.objects.values_list("event_id", flat=True))) == 1

    def test_those_above_hear_where_they_asked_for_children(self, family, child):
        heard = a_webhook(family, includes_children=True)
        a_webhook(family)
        child.refresh_from_db()
        assert told(child) == 1
        assert WebhookDelivery.objects.get().webhook == heard

    def test_a_new_account_below_is_heard(self, family):
        a_webhook(family, includes_children=True)
        assert told(Account.objects.create(name="New", parent=family)) == 1

    def test_nobody_beside_hears(self, lab, family):
        a_webhook(family, includes_children=True)
        Account.objects.update(is_listened=True)
        lab.refresh_from_db()
        assert told(lab) == 0

    def test_one_key_is_told_once(self, lab):
        a_webhook(lab)
        assert [told(lab, key="a"), told(lab, key="a"), told(lab, key="b")] == [1, 1, 1]
        assert WebhookDelivery.objects.count() == 2

    def test_it_costs_nothing_where_nobody_listens(self, lab, django_assert_num_queries):
        with django_assert_num_queries(0):
            tell(event="task.completed", account=lab, data={}, now=clock.now)

    def test_it_falls_with_the_deed(self, lab):
        a_webhook(lab)

        def deed():
            with transaction.atomic():
                told(lab)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            deed()
        assert not WebhookDelivery.objects.exists()

    def test_it_hints_after_the_commit_alone(self, lab, django_capture_on_commit_callbacks):
        a_webhook(lab)
        with django_capture_on_commit_callbacks() as callbacks:
            told(lab)
        assert len(callbacks) == 1


class TestSend:
    def test_it_is_signed_and_says_which_event_and_attempt(self, lab):
        with receiver() as hook:
            a_webhook(lab, port=hook.port)
            told(lab)
            assert send() == 1
        (request,) = hook.received
        delivery = WebhookDelivery.objects.get()
        assert request.head == "POST /in HTTP/1.1"
        assert is_signed(request)
        assert not is_signed(request, "another")
        assert request.body.decode() == delivery.body
        assert request.headers["gaas-event"] == "task.completed"
        assert request.headers["gaas-event-id"] == str(delivery.event_id) == json.loads(request.body)["id"]
        assert request.headers["gaas-attempt"] == "1"
        assert (delivery.status, delivery.response_status, delivery.response_excerpt) == ("SUCCEEDED", 200, "ok")

    def test_the_sample_for_receivers_takes_it_and_no_other(self, lab):
        sample = re.search(r"```python\n(.*?)```", (ROOT / "docs/webhooks.md").read_text(), re.DOTALL)
        names = {}
        exec(sample[1], names)
        with receiver() as hook:
            a_webhook(lab, port=hook.port)
            told(lab), send()
        (request,) = hook.received
        header = request.headers["gaas-signature"]
        assert names["is_ours"](SECRET, header, request.body)
        assert not names["is_ours"]("another", header, request.body)
        assert not names["is_ours"](SECRET, header, request.body + b" ")
        stamp = int(header.partition(",")[0].removeprefix("t="))
        old = signature(request.body.decode(), secrets=[SECRET], timestamp=stamp - 301)
        assert not names["is_ours"](SECRET, old, request.body)
        assert not names["is_ours"](SECRET, "", request.body)

    def test_doubled_messages_are_one_call(self, lab):
        with receiver() as hook:
            a_webhook(lab, port=hook.port)
            told(lab)
            assert [send(), send(), send()] == [1, 0, 0]
        assert hook.hits == 1

    def test_the_actor_sends_by_the_settings(self, lab, settings):
        settings.WEBHOOK_ALLOW_HTTP = True
        with receiver() as hook:
            a_webhook(lab, url=f"http://127.0.0.1:{hook.port}/")
            told(lab)
            send_webhooks()
            assert hook.hits == 0
            assert "public internet" in WebhookDelivery.objects.get().error
            settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
            make_due()
            send_webhooks(some_later_argument=1)
        assert is_signed(hook.received[0])

    def test_both_secrets_sign_while_the_old_one_is_good(self, lab):
        with receiver() as hook:
            made = a_webhook(lab, port=hook.port, old_secret=seal("whsec_old", purpose="webhook"))
            made.old_secret_until = clock.now() + timedelta(hours=1)
            made.save()
            told(lab), send()
            Webhook.objects.update(old_secret_until=clock.now())
            told(lab), send()
        during, after = hook.received
        assert is_signed(during)
        assert is_signed(during, "whsec_old")
        assert is_signed(after)
        assert not is_signed(after, "whsec_old")

    def test_a_secret_that_nothing_opens_switches_it_off(self, lab):
        made = a_webhook(lab)
        Webhook.objects.update(secret=Sealed("gAAAA", "webhook"))
        told(lab), send()
        made.refresh_from_db()
        assert not made.is_active
        assert "rotate" in made.disabled_reason


class TestRefused:
    def test_a_name_that_turned_to_loopback_is_never_called(self, lab):
        with receiver() as trap:
            a_webhook(lab, url=f"https://rebind.example:{trap.port}/")
            told(lab)
            assert send(Guard(resolve=lambda host, port: ["127.0.0.1"])) == 1
        assert trap.hits == 0
        delivery = WebhookDelivery.objects.get()
        assert (delivery.status, delivery.attempt, delivery.response_status) == ("PENDING", 1, None)

    def test_a_redirect_is_a_failure_and_leads_nowhere(self, lab):
        with receiver() as trap:
            to = f"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:{trap.port}/\r\nContent-Length: 0\r\n\r\n"
            with receiver(says(to.encode())) as hook:
                a_webhook(lab, port=hook.port)
                told(lab), send()
        assert (hook.hits, trap.hits) == (1, 0)
        delivery = WebhookDelivery.objects.get()
        assert (delivery.status, delivery.response_status) == ("PENDING", 307)
        assert "redirects are not followed" in delivery.error


class TestFailures:
    def test_it_comes_again_eight_times_within_a_day_and_a_half(self, lab):
        with receiver(says(b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nno\x00!")) as hook:
            a_webhook(lab, port=hook.port)
            told(lab)
            waits = []
            while WebhookDelivery.objects.pending().exists():
                began = clock.now()
                assert send() == 1
                waits.append((WebhookDelivery.objects.get().due_at - began).total_seconds())
                make_due()
        delivery = WebhookDelivery.objects.get()
        assert (delivery.status, delivery.attempt, delivery.response_excerpt) == ("FAILED", 8, "no\ufffd!")
        assert [request.headers["gaas-attempt"] for request in hook.received] == [str(n) for n in range(1, 9)]
        assert len({request.headers["gaas-event-id"] for request in hook.received}) == 1
        assert len({request.body for request in hook.received}) == 1
        assert waits[:-1] == sorted(waits[:-1])
        assert 12 * 3600 < sum(waits[:-1]) < 30 * 3600

    def test_it_rests_after_a_failure_while_others_get_their_turn(self, lab, family):
        with receiver(says(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")) as bad, receiver() as good:
            resting = a_webhook(lab, port=bad.port)
            a_webhook(family, port=good.port)
            for _ in range(3):
                told(lab), told(family)
            assert send() == 4
            assert (bad.hits, good.hits) == (1, 3)
            resting.refresh_from_db()
            assert resting.failures == 1
            assert resting.rest_until > clock.now()
        with receiver() as mended:
            Webhook.objects.filter(pk=resting.pk).update(url=f"http://hook.example:{mended.port}/")
            make_due()
            assert send() == 3
            resting.refresh_from_db()
            assert (resting.failures, resting.failing_since) == (0, None)

    def test_gone_switches_it_off(self, lab):
        with receiver(says(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")) as hook:
            made = a_webhook(lab, port=hook.port)
            told(lab), send()
        made.refresh_from_db()
        assert (made.is_active, "410" in made.disabled_reason) == (False, True)
        assert WebhookDelivery.objects.get().status == "FAILED"
        assert told(lab) == 0

    def test_days_of_failures_switch_it_off(self, lab, settings):
        with receiver(receivers.closes) as hook:
            made = a_webhook(lab, port=hook.port)
            Webhook.objects.update(failing_since=clock.now() - timedelta(days=4))
            told(lab), send()
            made.refresh_from_db()
            assert made.is_active
            Webhook.objects.update(failing_since=clock.now() - timedelta(days=5))
            make_due(), send()
        made.refresh_from_db()
        assert made.disabled_reason == "Nothing was taken for 5 days."

    def test_a_trial_that_fails_counts_for_nothing(self, lab):
        with receiver(says(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")) as hook:
            made = a_webhook(lab, port=hook.port)
            webhooks.ping(webhook=made, now=clock.now())
            send()
        made.refresh_from_db()
        assert (made.is_active, made.failures) == (True, 0)
        assert hook.received[0].headers["gaas-event"] == "ping"
        assert WebhookDelivery.objects.get().status == "FAILED"

    @pytest.mark.parametrize(
        "behave",
        [
            receivers.never_answers,
            receivers.ten_megabytes,
            receivers.endless_headers,
            receivers.trickles,
            receivers.closes,
        ],
    )
    def test_the_worst_receiver_is_bounded(self, lab, settings, behave):
        settings.WEBHOOK_SECONDS = 1.5
        with receiver(behave) as hook:
            a_webhook(lab, port=hook.port)
            told(lab)
            assert send() == 1
            assert hook.hits == 1
        delivery = WebhookDelivery.objects.get()
        assert delivery.duration_ms < 30_000  # the slowest would take minutes
        assert len(delivery.response_excerpt) <= 1000
        assert delivery.status == ("SUCCEEDED" if behave is receivers.ten_megabytes else "PENDING")


class TestClaim:
    def test_a_sender_that_died_leaves_the_event_to_another(self, lab):
        with receiver() as hook:
            a_webhook(lab, port=hook.port)
            told(lab)
            # It claimed, and was killed before it called.
            assert webhooks.claim(now=clock.now()) is not None
            assert send() == 0
            make_due()
            assert send() == 1
        assert hook.received[0].headers["gaas-attempt"] == "2"

    def test_one_webhook_is_called_once_at_a_time(self, lab):
        a_webhook(lab)
        told(lab), told(lab)
        assert webhooks.claim(now=clock.now()) is not None
        assert webhooks.claim(now=clock.now()) is None

    def test_a_sender_that_slept_beyond_its_lease_changes_nothing_of_its_successor_s(self, lab):
        with receiver(says(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")) as hook:
            made = a_webhook(lab, port=hook.port)
            told(lab)
            slept = webhooks.claim(now=clock.now())
            later = clock.now() + timedelta(minutes=5)
            successor = webhooks.claim(now=later)
            assert (slept.delivery.attempt, successor.delivery.attempt) == (1, 2)
            webhooks.call(slept, guard=inside())
            made.refresh_from_db()
            assert made.busy_until == successor.held_until
            assert WebhookDelivery.objects.get().response_status is None

    def test_a_process_keeps_most_of_its_threads(self, lab, monkeypatch):
        monkeypatch.setattr(webhooks, "_free_places", threading.Semaphore(0))
        a_webhook(lab), told(lab)
        assert send() == 0
        assert WebhookDelivery.objects.get().attempt == 0


class TestSweep:
    def test_what_had_its_last_attempt_is_given_up(self, lab):
        a_webhook(lab), told(lab)
        WebhookDelivery.objects.update(attempt=8)
        sweep_webhooks()
        assert WebhookDelivery.objects.get().status == "FAILED"

    def test_what_waits_too_long_is_given_up(self, lab):
        a_webhook(lab), told(lab)
        Webhook.objects.update(is_active=False)
        sweep_webhooks()
        assert WebhookDelivery.objects.get().status == "PENDING"
        WebhookDelivery.objects.update(updated_at=clock.now() - timedelta(days=3, minutes=1))
        sweep_webhooks()
        assert WebhookDelivery.objects.get().status == "FAILED"

    def test_what_ended_long_ago_is_forgotten(self, lab):
        a_webhook(lab), told(lab), told(lab)
        old = WebhookDelivery.objects.first()
        past = clock.now() - timedelta(days=31)
        WebhookDelivery.objects.filter(pk=old.pk).update(status="SUCCEEDED", finished_at=past)
        sweep_webhooks()
        assert WebhookDelivery.objects.get() != old


class TestRedeliver:
    def test_it_comes_again_with_the_same_id(self, lab):
        with receiver() as hook:
            a_webhook(lab, port=hook.port)
            told(lab), send()
            webhooks.redeliver(delivery=WebhookDelivery.objects.get(), now=clock.now())
            send()
        first, second = hook.received
        assert first.headers["gaas-event-id"] == second.headers["gaas-event-id"]
        assert [first.headers["gaas-attempt"], second.headers["gaas-attempt"]] == ["1", "2"]

    def test_an_old_one_has_all_its_attempts_before_it(self, lab):
        a_webhook(lab), told(lab)
        ago = clock.now() - timedelta(days=9)
        WebhookDelivery.objects.update(status="FAILED", finished_at=ago, created_at=ago, updated_at=ago)
        webhooks.redeliver(delivery=WebhookDelivery.objects.get(), now=clock.now())
        sweep_webhooks.fn()
        assert WebhookDelivery.objects.get().status == "PENDING"

    def test_what_is_on_its_way_or_off_is_refused(self, lab):
        made = a_webhook(lab)
        told(lab)
        with pytest.raises(Conflict):
            webhooks.redeliver(delivery=WebhookDelivery.objects.get(), now=clock.now())
        Webhook.objects.update(is_active=False)
        with pytest.raises(Conflict):
            webhooks.redeliver(delivery=WebhookDelivery.objects.get(), now=clock.now())
        made.refresh_from_db()
        with pytest.raises(Conflict):
            webhooks.ping(webhook=made, now=clock.now())


class TestParallel:
    pytestmark = pytest.mark.django_db(transaction=True)

    def test_no_connection_is_held_while_a_receiver_thinks(self, lab):
        held, wrapper = [], connection

        def looks(stream, hook):
            hook.read(stream)
            held.append(wrapper.connection is not None)
            stream.sendall(receivers.OK)

        wrapper = connections["default"]
        with receiver(looks) as hook:
            a_webhook(lab, port=hook.port)
            told(lab)
            assert send() == 1
        assert held == [False]

    def test_of_parallel_senders_one_calls(self, lab):
        if connection.vendor != "postgresql":
            pytest.skip("threads with connections of their own want PostgreSQL")
        with receiver() as hook:
            a_webhook(lab, port=hook.port)
            for _ in range(5):
                told(lab)
            start, sent = threading.Barrier(8), []

            def drain():
                start.wait()
                try:
                    while (claimed := webhooks.claim(now=clock.now())) is not None:
                        webhooks.call(claimed, guard=inside())
                        sent.append(claimed.delivery.pk)
                finally:
                    connections.close_all()

            threads = [threading.Thread(target=drain) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            send()
        ids = [request.headers["gaas-event-id"] for request in hook.received]
        assert len(ids) == len(set(ids)) == 5
        assert set(map(uuid.UUID, ids)) == set(WebhookDelivery.objects.values_list("event_id", flat=True))

    def test_a_slow_receiver_holds_up_nobody_else(self, lab, family):
        if connection.vendor != "postgresql":
            pytest.skip("threads with connections of their own want PostgreSQL")
        has_come, may_answer = threading.Event(), threading.Event()

        def slow(stream, hook):
            hook.read(stream)
            has_come.set()
            may_answer.wait(120)
            stream.sendall(receivers.OK)

        def drain():
            try:
                send()
            finally:
                connections.close_all()

        with receiver(slow) as held, receiver() as quick:
            a_webhook(lab, port=held.port)
            a_webhook(family, port=quick.port)
            told(lab)
            sender = threading.Thread(target=drain)
            sender.start()
            assert has_come.wait(120)
            told(lab), told(family)
            assert send() == 1
            assert (held.hits, quick.hits) == (1, 1)
            may_answer.set()
            sender.join()
        assert held.hits == 2

    def test_a_sender_killed_in_the_middle_of_a_call_is_followed_by_another(self, tmp_path):
        ended = subprocess.run(
            [sys.executable, "-m", "gaas.outbox.tests.killed_sender"],
            cwd=ROOT,
            env=os.environ
            | {"DATABASE_URL": database_url(tmp_path), "DATABASE_POOL": "0"}
            | {"DJANGO_SETTINGS_MODULE": "gaas.tests.settings"},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr[-2000:]
        report = json.loads(ended.stdout.splitlines()[-1])
        (first, second) = report["calls"]
        assert first[0] == second[0]
        assert [first[1], second[1]] == ["1", "2"]
        assert (report["at_once"], report["later"], report["status"]) == (0, 1, "SUCCEEDED")
