from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.mfa.models import Authenticator
from django.db import connection, connections
from django.test import Client

from accounts.models import TokenFamily, User
from accounts.services import passwords
from accounts.services.keys import create_key
from accounts.services.tokens import open_log_in
from accounts.tests.api_keys import caller
from accounts.tests.second_factors import set_up
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.lib.errors import DomainError
from gaas.outbox.models import Mail
from gaas.tests.cast import PASSWORD, make_user

pytestmark = pytest.mark.django_db

ASK = "/api/v1/auth/password/reset/"
CONFIRM = "/api/v1/auth/password/reset/confirm/"
NEW = "another fine passphrase"


def link_to(email):
    return re.search(r"http\S+confirm/\S+", Mail.objects.get(to=email, key__startswith="reset:").body).group(0)


def words_of(link):
    return {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}


def ask(api, email="alice@example.test", **headers):
    return api().post(ASK, {"email": email}, format="json", **headers)


class TestAsk:
    def test_it_writes_a_letter_with_a_link_to_this_server(self, api, alice, settings):
        answer = ask(api, "Alice@Example.test", HTTP_X_FORWARDED_HOST="evil.example")
        assert answer.status_code == 200
        assert link_to("alice@example.test").startswith(f"{settings.BASE_URL}/accounts/password/reset/confirm/?uid=")
        assert "evil" not in Mail.objects.get().body

    def test_a_foreign_host_is_refused_and_writes_nothing(self, api, alice):
        assert ask(api, HTTP_HOST="evil.example").status_code == 400
        assert not Mail.objects.exists()

    def test_it_answers_the_same_for_known_unknown_and_inactive(self, api, alice, bob):
        User.objects.filter(pk=bob.pk).update(is_active=False)
        answers = [ask(api, email) for email in ("alice@example.test", "no@example.test", "bob@example.test")]
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert len({tuple(sorted(set(answer.headers) - {"X-Request-ID"})) for answer in answers}) == 1
        assert [mail.to for mail in Mail.objects.all()] == ["alice@example.test"]

    def test_it_writes_to_the_stored_address_alone(self, api, alice):
        for alias in ("alice@example.test,evil@example.test", "alice@example.test\nbcc: evil@example.test"):
            assert ask(api, alias).status_code == 400
        ask(api, "ａｌｉｃｅ@example.test")
        assert {mail.to for mail in Mail.objects.all()} <= {"alice@example.test"}

    def test_it_is_throttled_by_address(self, api):
        statuses = [ask(api, f"{n}@example.test").status_code for n in range(11)]
        assert statuses == [200] * 10 + [429]


class TestConfirm:
    @pytest.fixture
    def words(self, api, alice):
        ask(api)
        return words_of(link_to("alice@example.test"))

    def confirm(self, api, words, **changes):
        return api().post(CONFIRM, {**words, "new_password": NEW, **changes}, format="json")

    def test_it_sets_the_password_confirms_the_address_and_ends_every_log_in(self, api, client, alice, words):
        client.post("/accounts/login/", {"username": "alice@example.test", "password": PASSWORD})
        # A log-in makes an older link void.
        Mail.objects.all().delete()
        ask(api)
        words = words_of(link_to("alice@example.test"))
        pair = open_log_in(user=User.objects.get(pk=alice.pk))
        assert self.confirm(api, words).status_code == 200
        alice.refresh_from_db()
        assert alice.check_password(NEW)
        assert alice.email_verified_at is not None
        assert not TokenFamily.objects.live().exists()
        refreshed = api().post("/api/v1/auth/token/refresh/", {"refresh": pair.refresh}, format="json")
        assert refreshed.status_code == 401
        assert client.get("/accounts/").status_code == 302
        assert AuditEvent.objects.filter(action="user.reset_password").count() == 1

    def test_it_works_once(self, api, words):
        assert self.confirm(api, words).status_code == 200
        again = self.confirm(api, words, new_password="a third passphrase")
        assert (again.status_code, again.json()["errors"][0]["code"]) == (400, "invalid_reset_token")

    def test_it_runs_out(self, api, words, settings):
        settings.PASSWORD_RESET_TIMEOUT = -1
        assert self.confirm(api, words).status_code == 400

    def test_it_is_void_once_the_address_or_the_password_is_another(self, api, alice, words):
        User.objects.filter(pk=alice.pk).update(email="other@example.test")
        assert self.confirm(api, words).status_code == 400

    @pytest.mark.parametrize(
        "changes",
        [
            {"token": "x"},
            {"token": "cabcde-0123456789abcdef0123456789abcdef"},
            {"uid": "x"},
            {"uid": "00000000-0000-7000-8000-000000000000"},
            {"uid": "\u0000"},
            {"new_password": "short"},
            {"new_password": "password123"},
            {"new_password": "alice@example.test"},
            {"new_password": "x" * 10_000},
            {"new_password": None},
            {"is_staff": True},
        ],
    )
    def test_it_refuses_all_else(self, api, alice, words, changes):
        assert self.confirm(api, words, **changes).status_code == 400
        alice.refresh_from_db()
        assert alice.check_password(PASSWORD)

    def test_a_link_of_one_is_none_of_another_s(self, api, bob, words):
        assert self.confirm(api, words, uid=str(bob.pk)).status_code == 400

    def test_it_lets_in_again_who_was_locked_out(self, api, alice, words):
        for _ in range(6):
            api().post("/api/v1/auth/token/", {"email": alice.email, "password": "no"}, format="json")
        assert self.confirm(api, words).status_code == 200
        body = {"email": alice.email, "password": NEW}
        assert api().post("/api/v1/auth/token/", body, format="json").status_code == 200


class TestFirstProof:
    """Whoever registered another's address keeps no key once its owner comes."""

    def confirm(self, api, user):
        _, text = create_key(user=user, name="mine", scopes=["tasks:read"], now=clock.now())
        assert caller(text).get("/api/v1/tasks/").status_code == 200
        ask(api, user.email)
        body = {**words_of(link_to(user.email)), "new_password": NEW}
        assert api().post(CONFIRM, body, format="json").status_code == 200
        return caller(text).get("/api/v1/tasks/").status_code

    def test_keys_made_before_anybody_read_the_mail_go(self, api, alice):
        assert self.confirm(api, alice) == 401
        assert AuditEvent.objects.filter(action="api_key.revoke").count() == 1

    def test_those_of_a_confirmed_address_stay(self, api, alice, verify):
        assert self.confirm(api, verify(alice)) == 200

    def test_so_does_a_second_factor(self, api, alice):
        set_up(alice)
        self.confirm(api, alice)
        assert not Authenticator.objects.exists()
        assert AuditEvent.objects.get(action="user.remove_second_factor").actor == alice

    def test_that_of_staff_is_asked_for_still(self, api, dana):
        set_up(dana)
        assert self.confirm(api, dana) == 401
        answer = api().post("/api/v1/auth/token/", {"email": dana.email, "password": NEW}, format="json")
        assert answer.json()["errors"][0]["code"] == "otp_required"

    def test_that_of_a_confirmed_address_is_asked_for_still(self, api, alice, verify):
        set_up(verify(alice))
        assert self.confirm(api, alice) == 200
        answer = api().post("/api/v1/auth/token/", {"email": alice.email, "password": NEW}, format="json")
        assert answer.json()["errors"][0]["code"] == "otp_required"


class TestPages:
    def test_a_letter_is_asked_for_and_followed(self, alice):
        browser = Client(enforce_csrf_checks=True)
        page = browser.get("/accounts/password/reset/")
        token = browser.cookies["csrftoken"].value
        page = browser.post("/accounts/password/reset/", {"email": alice.email, "csrfmiddlewaretoken": token})
        assert "Look into your mail" in page.content.decode()
        page = browser.get(link_to(alice.email).partition("127.0.0.1:8000")[2])
        fields = dict(re.findall(r'name="(uid|token)" value="([^"]+)"', unescape(page.content.decode())))
        form = {**fields, "new_password": NEW, "csrfmiddlewaretoken": token}
        assert "It is set" in browser.post("/accounts/password/reset/confirm/", form).content.decode()
        alice.refresh_from_db()
        assert alice.check_password(NEW)

    def test_a_refusal_is_told_with_its_status(self, client, alice):
        form = {"uid": str(alice.pk), "token": "x", "new_password": NEW}
        answer = client.post("/accounts/password/reset/confirm/", form)
        assert answer.status_code == 400
        assert "Ask for a new letter" in answer.content.decode()

    def test_it_shares_the_limit_of_the_api(self, client, api):
        for n in range(5):
            ask(api, f"{n}@example.test")
            client.post("/accounts/password/reset/", {"email": f"{n}@example.test"})
        assert client.post("/accounts/password/reset/", {"email": "x@example.test"}).status_code == 429


@pytest.mark.django_db(transaction=True)
class TestRace:
    def test_of_parallel_calls_with_one_link_one_wins(self):
        if connection.vendor == "sqlite":
            pytest.skip("SQLite has one writer at a time")
        user = make_user("Alice")
        token = passwords.default_token_generator.make_token(user)

        def confirm(n):
            try:
                passwords.confirm_reset(
                    uid=str(user.pk), token=token, new_password=f"passphrase number {n}", now=clock.now()
                )
                return True
            except DomainError:
                return False
            finally:
                connections.close_all()

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(confirm, range(8))) == 1
