"""Every change of a second factor stands with its audit event, or falls with it."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Barrier, BrokenBarrierError

import pytest
from allauth.mfa.models import Authenticator
from django.db import connection, connections

from accounts.models import User
from accounts.services.second_factor_changes import LastSecondFactor, changing
from accounts.tests.app_client import ALICE, App
from accounts.tests.second_factors import code_of, set_up
from accounts.tests.security_keys import SecurityKey
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.outbox.models import Mail
from gaas.tests.cast import PASSWORD, make_user

pytestmark = pytest.mark.django_db

FACTORS = "/accounts/2fa/"


@pytest.fixture
def alice(alice, settings, verify):
    """Give her a password that costs little to look at, and a confirmed address."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS]
    alice.set_password(PASSWORD)
    alice.save()
    return verify(alice)


class Pages:
    """Change second factors in a browser."""

    def __init__(self, client):
        self.client = client
        client.raise_request_exception = False

    def log_in(self):
        self.client.post("/accounts/login/", {"username": ALICE["email"], "password": PASSWORD})
        return self.client.post("/accounts/reauthenticate/", {"password": PASSWORD})

    def prove(self, code):
        """Log in as far as the second factor, and give it."""
        self.client.post("/accounts/login/", {"username": ALICE["email"], "password": PASSWORD})
        return self.client.post(f"{FACTORS}authenticate/", {"code": code})

    def app_on(self):
        page = self.client.get(f"{FACTORS}totp/activate/").content.decode()
        secret = re.search(r'id="secret" value="([A-Z2-7]+)"', page).group(1)
        return self.client.post(f"{FACTORS}totp/activate/", {"code": code_of(secret)})

    def app_off(self):
        return self.client.post(f"{FACTORS}totp/deactivate/")

    def codes_anew(self):
        return self.client.post(f"{FACTORS}recovery-codes/generate/")

    def key_on(self):
        page = self.client.get(f"{FACTORS}webauthn/add/", headers={"host": "localhost:8000"}).content.decode()
        said = json.loads(re.search(r'<script id="security-key"[^>]*>(.*?)</script>', page, re.S).group(1))
        credential = json.dumps(SecurityKey().register(said["creation_options"]))
        return self.client.post(f"{FACTORS}webauthn/add/", {"name": "Blue", "credential": credential})

    def key_renamed(self):
        return self.client.post(f"{FACTORS}webauthn/keys/{key_of().pk}/edit/", {"name": "Red"})

    def key_off(self):
        return self.client.post(f"{FACTORS}webauthn/keys/{key_of().pk}/remove/")


class AnApp:
    """Change them by the protocol for apps."""

    def __init__(self, api):
        self.app = App(api)
        self.app.http.raise_request_exception = False

    def log_in(self):
        self.app.log_in()
        return self.app.again()

    def prove(self, code):
        self.app.log_in()
        return self.app("post", "auth/2fa/authenticate", {"code": code})

    def app_on(self):
        secret = self.app("get", "account/authenticators/totp").json()["meta"]["secret"]
        return self.app("post", "account/authenticators/totp", {"code": code_of(secret)})

    def app_off(self):
        return self.app("delete", "account/authenticators/totp")

    def codes_anew(self):
        return self.app("post", "account/authenticators/recovery-codes")

    def key_on(self):
        return self.app.add_key(SecurityKey())

    def key_renamed(self):
        return self.app("put", "account/authenticators/webauthn", {"id": key_of().pk, "name": "Red"})

    def key_off(self):
        return self.app("delete", "account/authenticators/webauthn", {"authenticators": [key_of().pk]})


@pytest.fixture(params=["pages", "app"])
def way(request, client, api):
    return Pages(client) if request.param == "pages" else AnApp(api)


def key_of():
    return Authenticator.objects.get(type=Authenticator.Type.WEBAUTHN)


def factors():
    """Give all that is stored, but when each was used last and seen first."""
    rows = Authenticator.objects.order_by("pk").values_list("pk", "type", "data")
    return [(pk, kind, {name: of for name, of in data.items() if name != "viewed_at"}) for pk, kind, data in rows]


@contextmanager
def full_trail():
    """Have the database itself refuse every event of second factors, as a full disk would."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute(
                "CREATE FUNCTION refuse_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " RAISE EXCEPTION 'the trail is full' USING ERRCODE = 'integrity_constraint_violation'; END $$"
            )
            cursor.execute(
                "CREATE TRIGGER refuse_it BEFORE INSERT ON audit_auditevent FOR EACH ROW"
                " WHEN (NEW.action LIKE 'second_factor.%') EXECUTE FUNCTION refuse_it()"
            )
        else:
            cursor.execute(
                "CREATE TRIGGER refuse_it BEFORE INSERT ON audit_auditevent WHEN NEW.action LIKE 'second_factor.%'"
                " BEGIN SELECT RAISE(ABORT, 'the trail is full'); END"
            )
        yield
        if connection.vendor == "postgresql":
            cursor.execute("DROP TRIGGER refuse_it ON audit_auditevent")
            cursor.execute("DROP FUNCTION refuse_it()")
        else:
            cursor.execute("DROP TRIGGER refuse_it")


def stands_or_falls(verb, *actions):
    """Try a verb without the trail and see nothing changed, then with it and see both."""
    before, letters = factors(), Mail.objects.count()
    with full_trail():
        assert verb().status_code == 500
        assert factors() == before
        assert Mail.objects.count() == letters
    assert verb().status_code in {200, 302}
    assert factors() != before
    done = AuditEvent.objects.filter(action__startswith="second_factor.").values_list("action", flat=True)
    assert sorted(done) == sorted(f"second_factor.{action}" for action in actions)


class TestTogether:
    def test_an_app_set_up(self, way, alice):
        way.log_in()
        stands_or_falls(way.app_on, "totp_activated", "recovery_codes_generated")
        assert Mail.objects.get().subject.endswith("an authenticator app was set up for your account")

    def test_an_app_taken_off(self, way, alice):
        way.log_in()
        set_up(alice)
        stands_or_falls(way.app_off, "totp_deactivated", "recovery_codes_removed")
        assert "taken off" in Mail.objects.get().subject

    def test_recovery_codes_made_anew(self, way, alice):
        way.log_in()
        set_up(alice)
        stands_or_falls(way.codes_anew, "recovery_codes_generated")
        assert "recovery codes" in Mail.objects.get().subject

    def test_a_recovery_code_used(self, way, alice):
        _, codes = set_up(alice)
        stands_or_falls(lambda: way.prove(codes[0]), "recovery_code_used")
        assert AuditEvent.objects.get().after == {"left": 9}

    def test_a_key_added(self, way, alice):
        way.log_in()
        stands_or_falls(way.key_on, "webauthn_added", "recovery_codes_generated")

    def test_a_key_renamed(self, way, alice):
        way.log_in()
        Authenticator.objects.create(user=alice, type=Authenticator.Type.WEBAUTHN, data={"name": "Blue"})
        stands_or_falls(way.key_renamed, "webauthn_renamed")
        event = AuditEvent.objects.get()
        assert (event.actor, event.before["name"], event.after["name"]) == (alice, "Blue", "Red")
        assert not Mail.objects.exists()

    def test_a_key_taken_off(self, way, alice):
        way.log_in()
        Authenticator.objects.create(user=alice, type=Authenticator.Type.WEBAUTHN, data={"name": "Blue"})
        stands_or_falls(way.key_off, "webauthn_removed")

    def test_a_recovery_code_used_for_tokens(self, api, alice):
        _, codes = set_up(alice)
        caller = api()
        caller.raise_request_exception = False
        body = {**ALICE, "otp": codes[0]}
        stands_or_falls(lambda: caller.post("/api/v1/auth/token/", body, format="json"), "recovery_code_used")

    def test_an_app_s_code_used_is_none(self, way, alice):
        secret, _ = set_up(alice)
        assert way.prove(code_of(secret)).status_code in {200, 302}
        assert not AuditEvent.objects.filter(action__startswith="second_factor.").exists()


@pytest.mark.django_db(transaction=True)
class TestRace:
    def test_of_two_that_take_off_one_each_one_is_left(self, settings):
        if connection.vendor == "sqlite":
            pytest.skip("SQLite has one writer at a time")
        settings.STAFF_MFA = True
        dana = make_user("Dana", is_staff=True)
        for kind in (Authenticator.Type.WEBAUTHN, Authenticator.Type.TOTP):
            Authenticator.objects.create(user=dana, type=kind, data={"name": "x"})

        both = Barrier(2)

        def take_off(pk):
            try:
                with changing(user=User(pk=dana.pk), now=clock.now()):
                    Authenticator.objects.filter(pk=pk).delete()
                    # Both are here at once only where neither waits for the other.
                    with suppress(BrokenBarrierError):
                        both.wait(timeout=0.5)
                return True
            except LastSecondFactor:
                return False
            finally:
                connections.close_all()

        with ThreadPoolExecutor(2) as pool:
            assert sum(pool.map(take_off, Authenticator.objects.values_list("pk", flat=True))) == 1
        assert Authenticator.objects.count() == 1
