"""Log in as an app by allauth's protocol, and get what auth/token gives."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from allauth.headless import app_settings as headless_settings
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db import connection
from rest_framework_simplejwt.tokens import AccessToken

from accounts.actors import forget_log_ins
from accounts.models import TokenFamily, User
from accounts.services.app_log_in import TokenPairs
from accounts.services.keys import create_key
from accounts.tests.app_client import ALICE, BASE, App
from accounts.tests.second_factors import code_of, set_up
from accounts.tests.security_keys import SecurityKey
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.outbox.models import Mail
from gaas.tests.cast import PASSWORD

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice(alice, settings):
    """Give her a password that costs little to look at."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS]
    alice.set_password(PASSWORD)
    alice.email_verified_at = clock.now()
    alice.save()
    return alice


@pytest.fixture
def app(api):
    return App(api)


@pytest.fixture
def keyed(api, alice):
    """Alice's security key, her only second factor beside the recovery codes that came with it."""
    key, other = SecurityKey(), App(api)
    other.log_in()
    assert other.add_key(key).status_code == 200
    alice.end_log_ins(now=clock.now())
    return key


def code(answer):
    return answer.json()["errors"][0]["code"]


def works(api, app, user):
    """Use the pair as one of auth/token: call, refresh, call again; once used, the refresh token is over."""
    me = api().get("/api/v1/users/me/", HTTP_AUTHORIZATION=f"Bearer {app.access}")
    assert me.json()["id"] == str(user.pk)
    rotated = api().post("/api/v1/auth/token/refresh/", {"refresh": app.refresh}, format="json")
    me = api().get("/api/v1/users/me/", HTTP_AUTHORIZATION=f"Bearer {rotated.json()['access']}")
    assert me.status_code == 200
    assert api().post("/api/v1/auth/token/refresh/", {"refresh": app.refresh}, format="json").status_code == 401
    family = TokenFamily.objects.get(user=user, ended_at=None)
    assert AccessToken(app.access)["sid"] == str(family.pk)
    return True


class TestLogIn:
    def test_the_strategy_is_ours(self):
        assert isinstance(headless_settings.TOKEN_STRATEGY, TokenPairs)
        assert headless_settings.CLIENTS == ("app",)

    def test_a_password_gives_the_pair_of_auth_token(self, api, app, alice):
        answer = app.log_in()
        assert answer.status_code == 200
        assert answer.json()["data"]["user"]["email"] == "alice@example.test"
        assert set(answer.json()["meta"]) == {"is_authenticated", "access_token", "refresh_token"}
        assert works(api, app, alice)

    def test_no_session_is_left_that_could_be_a_log_in(self, app, alice):
        set_up(alice)
        app.log_in()
        flow = Session.objects.get()
        assert "_auth_user_id" not in flow.get_decoded()
        assert flow.session_key not in app.session_token
        app("post", "auth/2fa/authenticate", {"code": second_factor_code(alice)})
        assert app.access
        assert not Session.objects.exists()
        assert not UserSession.objects.exists()

    def test_a_flow_s_key_is_no_cookie_and_a_cookie_s_key_no_flow(self, client, app, alice):
        set_up(alice)
        app.log_in()
        client.cookies["sessionid"] = Session.objects.get().session_key
        assert client.get("/accounts/").status_code == 302
        client.cookies.clear()
        client.force_login(alice)
        app.session_token = client.cookies["sessionid"].value
        answer = app("get", "auth/session")
        assert (answer.status_code, code(answer)) == (410, "flow_over")

    def test_the_app_s_code_ends_it(self, api, app, alice):
        secret, _ = set_up(alice)
        asked = app.log_in()
        assert (asked.status_code, code(asked)) == (401, "otp_required")
        assert asked["WWW-Authenticate"]
        pending = next(flow for flow in asked.json()["data"]["flows"] if flow.get("is_pending"))
        assert pending == {"id": "mfa_authenticate", "is_pending": True, "types": ["recovery_codes", "totp"]}
        assert not TokenFamily.objects.exists()
        now = code_of(secret)
        assert app("post", "auth/2fa/authenticate", {"code": now}).status_code == 200
        assert works(api, app, alice)
        again = App(api)
        again.log_in()
        refused = again("post", "auth/2fa/authenticate", {"code": now})
        assert (refused.status_code, code(refused)) == (401, "otp_invalid")

    def test_a_recovery_code_ends_it(self, api, app, alice):
        _, codes = set_up(alice)
        app.log_in()
        assert app("post", "auth/2fa/authenticate", {"code": codes[0]}).status_code == 200
        assert works(api, app, alice)

    def test_a_security_key_ends_it(self, api, app, alice, keyed):
        asked = app.log_in()
        assert "webauthn" in asked.json()["data"]["flows"][-1]["types"]
        answer = app.sign_with(keyed)
        assert answer.status_code == 200
        assert [record["method"] for record in answer.json()["data"]["methods"]] == []
        assert works(api, app, alice)
        assert Authenticator.objects.get(type=Authenticator.Type.WEBAUTHN).last_used_at

    def test_another_key_does_not(self, app, alice, keyed):
        app.log_in()
        stranger = SecurityKey()
        answer = app.sign_with(stranger)
        assert (answer.status_code, code(answer)) == (400, "invalid")
        stranger.id = keyed.id
        assert app.sign_with(stranger).status_code == 400
        assert not app.access

    def test_a_key_s_answer_is_good_for_its_challenge_alone(self, app, alice, keyed):
        app.log_in()
        old = keyed.answer(app("get", "auth/webauthn/authenticate").json()["data"]["request_options"])
        app("get", "auth/webauthn/authenticate")
        assert app("post", "auth/webauthn/authenticate", {"credential": old}).status_code == 400

    @pytest.mark.parametrize("credential", [{}, {"id": "x"}, {"rawId": 1, "response": []}, {"id": {}, "response": {}}])
    def test_garbage_is_no_key(self, app, alice, keyed, credential):
        app.log_in()
        app("get", "auth/webauthn/authenticate")
        assert app("post", "auth/webauthn/authenticate", {"credential": credential}).status_code == 400

    def test_it_refreshes_by_the_protocol_too(self, app, alice):
        app.log_in()
        answer = app("post", "tokens/refresh", {"refresh_token": app.refresh})
        assert set(answer.json()["data"]) == {"access_token", "refresh_token"}
        refused = app("post", "tokens/refresh", {"refresh_token": app.refresh})
        assert (refused.status_code, code(refused)) == (401, "token_not_valid")

    def test_the_session_tells_who_it_is(self, app, alice):
        nobody = app("get", "auth/session")
        assert (nobody.status_code, code(nobody)) == (401, "not_authenticated")
        assert nobody.json()["data"]["flows"] == [{"id": "login"}]
        app.log_in()
        assert app("get", "auth/session").json()["data"]["user"]["id"] == str(alice.pk)


def second_factor_code(user):
    return user.authenticator_set.get(type=Authenticator.Type.RECOVERY_CODES).wrap().get_unused_codes()[0]


class TestRefusals:
    def test_wrong_and_unknown_are_the_same(self, app, alice):
        wrong, unknown = app.log_in(password="wrong"), app.log_in(email="nobody@example.test")
        assert wrong.status_code == unknown.status_code == 401
        assert wrong.json()["errors"] == unknown.json()["errors"]
        assert code(wrong) == "no_active_account"

    def test_wrong_ones_lock_out_and_count_with_those_of_auth_token(self, api, app, alice):
        for _ in range(3):
            assert app.log_in(password="wrong").status_code == 401
        for _ in range(2):
            api().post("/api/v1/auth/token/", {**ALICE, "password": "wrong"}, format="json")
        locked = app.log_in()
        assert (locked.status_code, code(locked)) == (429, "locked_out")
        assert int(locked["Retry-After"]) > 0

    def test_calls_are_counted_with_those_of_auth_token_and_once(self, api, app, alice):
        for _ in range(5):
            assert app.log_in().status_code == 200
        for _ in range(5):
            assert api().post("/api/v1/auth/token/", ALICE, format="json").status_code == 200
        throttled = app.log_in()
        assert (throttled.status_code, code(throttled)) == (429, "throttled")

    def test_wrong_codes_lock_out(self, app, alice):
        secret, _ = set_up(alice)
        app.log_in()
        wrong = code_of(secret, at=time.time() - 3600)
        said = [app("post", "auth/2fa/authenticate", {"code": wrong}) for _ in range(6)]
        assert [code(one) for one in said] == ["otp_invalid"] * 5 + ["locked_out"]
        assert said[0].json()["errors"][0]["attr"] == "code"

    def test_who_is_locked_out_uses_no_security_key(self, app, alice, keyed):
        app.log_in()
        options = app("get", "auth/webauthn/authenticate").json()["data"]["request_options"]
        for _ in range(5):
            app("post", "auth/2fa/authenticate", {"code": "000000"})
        locked = app("post", "auth/webauthn/authenticate", {"credential": keyed.answer(options)})
        assert (locked.status_code, code(locked)) == (429, "locked_out")

    def test_who_is_switched_off_meanwhile_gets_none(self, app, root, alice):
        secret, _ = set_up(alice)
        app.log_in()
        alice.switch_off(by=root, now=clock.now())
        answer = app("post", "auth/2fa/authenticate", {"code": code_of(secret)})
        assert answer.status_code == 401
        assert not TokenFamily.objects.exists()

    def test_a_new_password_meanwhile_voids_the_old_one_s_flow(self, app, alice):
        secret, _ = set_up(alice)
        app.log_in()
        alice.set_password("another long word")
        alice.save()
        answer = app("post", "auth/2fa/authenticate", {"code": code_of(secret)})
        assert (answer.status_code, code(answer)) == (401, "no_active_account")
        assert not TokenFamily.objects.exists()

    def test_a_flow_ends_by_itself(self, app, alice, settings):
        secret, _ = set_up(alice)
        app.log_in()
        settings.ACCOUNT_LOGIN_TIMEOUT = -1
        answer = app("post", "auth/2fa/authenticate", {"code": code_of(secret)})
        assert (answer.status_code, code(answer)) == (401, "not_authenticated")

    def test_one_that_a_parallel_call_ends_is_gone_for_the_other(self, app, alice, keyed):
        app.log_in()

        def end(execute, sql, *args):
            if "mfa_authenticator" in sql:
                Session.objects.all().delete()
            return execute(sql, *args)

        with connection.execute_wrapper(end):
            answer = app("get", "auth/webauthn/authenticate")
        assert (answer.status_code, code(answer)) == (410, "flow_over")

    def test_flows_that_nobody_ended_are_forgotten(self, app, alice):
        set_up(alice)
        app.log_in()
        forget_log_ins.fn()
        assert Session.objects.count() == 1
        Session.objects.update(expire_date=clock.now() - timedelta(seconds=1))
        forget_log_ins.fn()
        assert not Session.objects.exists()

    def test_it_keeps_the_rule_of_verified_addresses(self, app, alice, settings):
        settings.REQUIRE_VERIFIED_EMAIL = True
        User.objects.filter(pk=alice.pk).update(email_verified_at=None)
        answer = app.log_in()
        assert (answer.status_code, code(answer)) == (403, "email_not_verified")
        assert not TokenFamily.objects.exists()

    def test_it_keeps_the_rule_of_staff(self, app, dana, settings):
        settings.STAFF_MFA = True
        answer = app.log_in(email=dana.email)
        assert (answer.status_code, code(answer)) == (403, "second_factor_missing")

    def test_tokens_and_keys_from_before_the_rule_held_get_to_nothing(self, api, app, alice, settings):
        app.log_in()
        _, text = create_key(user=alice, name="before", scopes=["tasks:read"], now=clock.now())
        calls = [f"Bearer {app.access}", f"Api-Key {text}"]
        settings.STAFF_MFA = True
        type(alice).objects.filter(pk=alice.pk).update(is_staff=True)
        for call in calls:
            refused = api().get("/api/v1/tasks/", HTTP_AUTHORIZATION=call)
            assert (refused.status_code, code(refused)) == (403, "second_factor_missing")
        # What it takes to set one up is open, and then so is all.
        assert app.again().status_code == 200
        secret = app("get", "account/authenticators/totp").json()["meta"]["secret"]
        assert app("post", "account/authenticators/totp", {"code": code_of(secret)}).status_code == 200
        assert [api().get("/api/v1/tasks/", HTTP_AUTHORIZATION=call).status_code for call in calls] == [200, 200]

    @pytest.mark.parametrize(
        "body",
        [
            b"[]",
            b"",
            b"{",
            b'{"email": "a@b.test", "email": "c@d.test"}',
            b"[" * 100_000,
            b'{"password": []}',
        ],
    )
    def test_bad_bodies_are_clear_refusals(self, app, body):
        answer = app.http.post(BASE + "auth/login", body, content_type="application/json")
        assert answer.status_code == 400
        assert set(answer.json()) == {"type", "errors", "request_id"}

    def test_unknown_fields_are_named(self, app, alice):
        answer = app.log_in(is_staff=True)
        assert (answer.status_code, code(answer)) == (400, "unknown_field")

    @pytest.mark.parametrize(
        "path", ["auth/signup", "auth/password/request", "auth/password/reset", "account/email", "config"]
    )
    def test_what_our_own_api_does_is_not_mounted(self, app, path):
        assert app("post", path, {}).status_code == 404
        assert app.http.post(f"/api/v1/auth/browser/v1/{path}", {}, format="json").status_code == 404

    @pytest.mark.parametrize("token", ["x", "é", "a" * 4000, "gAAAAA"])
    def test_what_is_no_token_of_a_flow_is_gone(self, app, token):
        app.session_token = token
        assert app("get", "auth/session").status_code == 410


class TestSecondFactors:
    def test_a_change_asks_for_a_proof_again(self, app, alice):
        app.log_in()
        set_up(alice)
        key = Authenticator.objects.create(user=alice, type=Authenticator.Type.WEBAUTHN, data={"name": "Hers"}).pk
        calls = [
            ("get", "recovery-codes", None),
            ("post", "recovery-codes", None),
            ("delete", "totp", None),
            ("put", "webauthn", {"id": key, "name": "x"}),
            ("delete", "webauthn", {"authenticators": [key]}),
        ]
        for method, path, body in calls:
            refused = app(method, f"account/authenticators/{path}", body)
            assert (refused.status_code, code(refused)) == (401, "reauthentication_required"), path
            assert refused.json()["meta"]["is_authenticated"] is True
        assert Authenticator.objects.count() == 3

    def test_an_app_is_set_up_shown_and_taken_off(self, api, app, alice, django_capture_on_commit_callbacks):
        app.log_in()
        assert app.again().status_code == 200
        absent = app("get", "account/authenticators/totp")
        assert (absent.status_code, code(absent)) == (404, "not_found")
        secret = absent.json()["meta"]["secret"]
        assert app("post", "account/authenticators/totp", {"code": "000000"}).status_code == 400
        with django_capture_on_commit_callbacks(execute=True):
            assert app("post", "account/authenticators/totp", {"code": code_of(secret)}).status_code == 200
        assert AuditEvent.objects.filter(action="second_factor.totp_activated", actor=alice).exists()
        assert Mail.objects.filter(to=alice.email, subject__contains="authenticator app").exists()
        kinds = {one["type"] for one in app("get", "account/authenticators").json()["data"]}
        assert kinds == {"totp", "recovery_codes"}
        codes = app("get", "account/authenticators/recovery-codes").json()["data"]["unused_codes"]
        assert len(codes) == 10
        assert app("post", "account/authenticators/recovery-codes").json()["data"]["unused_codes"] != codes
        assert app("delete", "account/authenticators/totp").status_code == 200
        assert not Authenticator.objects.exists()

    def test_a_key_is_added_renamed_and_taken_off(self, app, alice):
        app.log_in()
        added = app.add_key(SecurityKey())
        assert added.status_code == 200
        assert added.json()["meta"]["recovery_codes_generated"] is True
        pk = added.json()["data"]["id"]
        assert app("put", "account/authenticators/webauthn", {"id": pk, "name": "Red"}).json()["data"]["name"] == "Red"
        assert app("delete", "account/authenticators/webauthn", {"authenticators": [pk]}).status_code == 200
        assert not Authenticator.objects.exists()
        done = set(AuditEvent.objects.filter(actor=alice).values_list("action", flat=True))
        assert {"second_factor.webauthn_added", "second_factor.webauthn_removed"} <= done

    def test_staff_keep_their_last_one_where_they_need_it(self, app, dana, settings):
        settings.STAFF_MFA = True
        _, codes = set_up(dana)
        app.log_in(email=dana.email)
        app("post", "auth/2fa/authenticate", {"code": codes[0]})
        app("post", "auth/2fa/reauthenticate", {"code": codes[1]})
        refused = app("delete", "account/authenticators/totp")
        assert (refused.status_code, code(refused)) == (409, "last_second_factor")
        assert Authenticator.objects.filter(user=dana, type=Authenticator.Type.TOTP).exists()
        assert not AuditEvent.objects.filter(action="second_factor.totp_deactivated").exists()

    def test_an_address_that_nobody_confirmed_gets_none(self, app, alice):
        User.objects.filter(pk=alice.pk).update(email_verified_at=None)
        app.log_in()
        app.again()
        for method, path in (("get", "totp"), ("post", "totp"), ("get", "webauthn"), ("post", "webauthn")):
            body = {"code": "123456"} if path == "totp" else {"credential": {}}
            refused = app(method, f"account/authenticators/{path}", body if method == "post" else None)
            assert (refused.status_code, code(refused)) == (403, "email_not_verified"), (method, path)
            assert "Confirm your address first" in refused.json()["errors"][0]["detail"]

    def test_another_s_key_is_not_there(self, app, alice, bob):
        key = Authenticator.objects.create(user=bob, type=Authenticator.Type.WEBAUTHN, data={"name": "Bob's"})
        app.log_in()
        app.again()
        assert app("put", "account/authenticators/webauthn", {"id": key.pk, "name": "x"}).status_code == 400
        assert app("delete", "account/authenticators/webauthn", {"authenticators": [key.pk]}).status_code == 400
        assert Authenticator.objects.filter(pk=key.pk).exists()

    def test_a_wrong_password_is_no_proof_and_counts(self, app, alice):
        app.log_in()
        said = [app("post", "auth/reauthenticate", {"password": "no"}) for _ in range(6)]
        assert [code(one) for one in said] == ["wrong_password"] * 5 + ["locked_out"]
        assert app("get", "account/authenticators/webauthn").status_code == 401

    def test_a_code_or_a_key_is_a_proof(self, app, alice, keyed):
        app.log_in()
        app.sign_with(keyed)
        options = app("get", "auth/webauthn/reauthenticate").json()["data"]["request_options"]
        assert app("post", "auth/webauthn/reauthenticate", {"credential": keyed.answer(options)}).status_code == 200
        assert app("get", "account/authenticators/recovery-codes").status_code == 200

    def test_a_code_is_a_proof(self, app, alice):
        app.log_in()
        secret, _ = set_up(alice)
        assert app("post", "auth/2fa/reauthenticate", {"code": code_of(secret)}).status_code == 200
        assert app("get", "account/authenticators/recovery-codes").status_code == 200

    def test_a_proof_is_the_log_in_s_alone_and_ends_with_it(self, api, app, alice):
        app.log_in()
        app.again()
        other = App(api)
        other.log_in()
        assert other("get", "account/authenticators/webauthn").status_code == 401
        api().post("/api/v1/auth/logout/", {"refresh": app.refresh}, format="json")
        refused = app("get", "account/authenticators")
        assert (refused.status_code, code(refused)) == (401, "token_not_valid")

    def test_a_session_token_names_no_log_in_by_tokens(self, api, app, alice):
        app.log_in()
        app.again()
        other = App(api)
        other.session_token = str(AccessToken(app.access)["sid"])
        assert other("get", "auth/session").status_code == 410
        assert other("get", "account/authenticators").status_code == 401
        other.session_token = Session.objects.get().session_key
        assert other("get", "auth/session").status_code == 410

    def test_a_browser_s_session_is_nobody_here(self, client, alice):
        client.force_login(alice)
        assert client.get(BASE + "account/authenticators").status_code == 401
