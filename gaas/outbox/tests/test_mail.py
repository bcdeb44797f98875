from __future__ import annotations

import socketserver
import threading
from datetime import timedelta

import pytest
from django.core import mail
from django.db import connection, connections, transaction

from gaas.lib import clock
from gaas.lib.errors import Conflict
from gaas.outbox import services
from gaas.outbox.actors import send_mail
from gaas.outbox.models import Mail

pytestmark = pytest.mark.django_db

TEMPLATE = "mail/registered_again.txt"


def post(key="k", **changes):
    given = {"to": "a@example.test", "subject": "Hello", "template": TEMPLATE, "context": {"base_url": "http://x"}}
    return services.post(key=key, **{**given, **changes})


class TestPost:
    def test_it_stores_one_letter_for_a_key(self):
        first, again = post(), post(subject="Other")
        assert first.pk == again.pk
        assert again.subject == "Hello"
        assert "http://x" in first.body

    def test_it_sends_a_hint_after_the_commit_alone(self, django_capture_on_commit_callbacks):
        with django_capture_on_commit_callbacks() as callbacks:
            post()
            post()
        assert len(callbacks) == 1

    def test_it_falls_with_the_deed(self):
        class Failure(Exception):
            pass

        def deed():
            with transaction.atomic():
                post()
                raise Failure

        with pytest.raises(Failure):
            deed()
        assert not Mail.objects.exists()

    def test_a_subject_cannot_carry_another_header(self):
        letter = post(subject="Hello\r\nBcc: all@example.test")
        assert letter.subject == "Hello Bcc: all@example.test"
        assert services.deliver(mail_id=letter.pk, now=clock.now())
        assert mail.outbox[0].recipients() == ["a@example.test"]


class TestDeliver:
    def test_it_sends_once(self):
        letter = post()
        assert services.deliver(mail_id=letter.pk, now=clock.now())
        assert not services.deliver(mail_id=letter.pk, now=clock.now() + timedelta(days=1))
        assert [(sent.to, sent.subject) for sent in mail.outbox] == [(["a@example.test"], "Hello")]
        letter.refresh_from_db()
        assert letter.sent_at is not None
        assert letter.tries == 1

    def test_the_actor_delivers(self):
        letter = post()
        send_mail(mail_id=str(letter.pk), some_later_argument=1)
        assert len(mail.outbox) == 1

    def test_an_unknown_letter_is_nothing(self):
        assert not services.deliver(mail_id="019a0000-0000-7000-8000-000000000000", now=clock.now())

    def test_a_server_that_is_away_is_tried_again_later_and_later(self, settings):
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST = "127.0.0.1"
        # A port that was bound a moment ago and is free now: nothing answers there.
        with socketserver.TCPServer(("127.0.0.1", 0), None) as server:
            settings.EMAIL_PORT = server.server_address[1]
        letter, now, waits = post(), clock.now(), []
        while Mail.objects.due(now=now).exists():
            assert not services.deliver(mail_id=letter.pk, now=now)
            assert not services.deliver(mail_id=letter.pk, now=now)
            letter.refresh_from_db()
            waits.append((letter.due_at - now).total_seconds() / 60)
            now = letter.due_at
        assert waits == [1, 4, 16, 64, 256, 360, 360, 360]
        assert "ConnectionRefusedError" in letter.last_error
        assert Mail.objects.given_up().get() == letter

    def test_an_address_that_cannot_be_sent_to_is_noted(self):
        letter = post(to="a@example.test\nBcc: b@example.test")
        assert not services.deliver(mail_id=letter.pk, now=clock.now())
        letter.refresh_from_db()
        assert "BadHeaderError" in letter.last_error


class TestRetry:
    def test_it_begins_anew(self):
        letter = post()
        Mail.objects.update(tries=8)
        assert not services.deliver(mail_id=letter.pk, now=clock.now())
        services.retry(mail=letter, now=clock.now())
        assert services.deliver(mail_id=letter.pk, now=clock.now())

    def test_a_sent_letter_is_not_sent_again(self):
        letter = post()
        services.deliver(mail_id=letter.pk, now=clock.now())
        with pytest.raises(Conflict):
            services.retry(mail=letter, now=clock.now())


class TestRace:
    pytestmark = pytest.mark.django_db(transaction=True)

    def test_of_parallel_deliveries_one_sends(self):
        if connection.vendor != "postgresql":
            pytest.skip("threads with connections of their own want PostgreSQL")
        letter = post()
        start, sent = threading.Barrier(8), []

        def deliver():
            start.wait()
            try:
                sent.append(services.deliver(mail_id=letter.pk, now=clock.now()))
            finally:
                connections.close_all()

        threads = [threading.Thread(target=deliver) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sent.count(True) == 1
        assert len(mail.outbox) == 1
