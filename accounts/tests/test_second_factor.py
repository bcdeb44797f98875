from __future__ import annotations

import re
import time
from html import unescape

import pytest
from allauth.mfa.models import Authenticator
from cryptography.fernet import InvalidToken
from django.urls import reverse

from accounts.models import TokenFamily
from accounts.pages.adapters import SecondFactorAdapter
from accounts.services import second_factor
from accounts.services.tokens import open_log_in
from accounts.tests.second_factors import code_of, set_up
from gaas.audit.models import AuditEvent
from gaas.outbox.models import Mail
from gaas.tests.cast import PASSWORD

pytestmark = pytest.mark.django_db

URL = "/api/v1/auth/token/"
OFF = "/accounts/2fa/totp/deactivate/"


def log_in(api, **more):
    return api().post(URL, {"email": "alice@example.test", "password": PASSWORD, **more}, format="json")


def code(answer):
    return answer.json()["errors"][0]["code"]


def secret_on(page):
    return re.search(r'id="secret" value="([A-Z2-7]+)"', page.content.decode()).group(1)


def second_factor_code(user):
    return user.authenticator_set.get(type=Authenticator.Type.RECOVERY_CODES).wrap().get_unused_codes()[0]


class TestToken:
    def test_it_asks_for_a_code_only_after_the_right_password(self, api, alice):
        set_up(alice)
        asked = log_in(api)
        assert (asked.status_code, code(asked), asked.json()["errors"][0]["attr"]) == (401, "otp_required", "otp")
        assert asked["WWW-Authenticate"]
        assert code(log_in(api, password="wrong")) == "no_active_account"
        assert not TokenFamily.objects.exists()

    def test_it_takes_the_app_s_code_once(self, api, alice):
        secret, _ = set_up(alice)
        now = code_of(secret)
        assert log_in(api, otp=now).status_code == 200
        again = log_in(api, otp=now)
        assert (again.status_code, code(again)) == (401, "otp_invalid")

    def test_it_takes_a_recovery_code_once(self, api, alice):
        _, codes = set_up(alice)
        assert log_in(api, otp=codes[0]).status_code == 200
        assert code(log_in(api, otp=codes[0])) == "otp_invalid"
        assert log_in(api, otp=codes[1]).status_code == 200

    def test_wrong_codes_lock_out(self, api, alice):
        secret, _ = set_up(alice)
        wrong = code_of(secret, at=time.time() - 3600)
        assert [code(log_in(api, otp=wrong)) for _ in range(5)] == ["otp_invalid"] * 5
        locked = log_in(api, otp=code_of(secret))
        assert (locked.status_code, code(locked)) == (429, "locked_out")

    @pytest.mark.parametrize("otp", ["000", "x" * 64, "１２３４５６", " ", "-1"])
    def test_it_refuses_what_is_no_code(self, api, alice, otp):
        set_up(alice)
        assert log_in(api, otp=otp).status_code in {400, 401}

    def test_a_code_of_another_is_none(self, api, alice, bob):
        set_up(alice)
        secret, codes = set_up(bob)
        assert code(log_in(api, otp=code_of(secret))) == "otp_invalid"
        assert code(log_in(api, otp=codes[0])) == "otp_invalid"

    def test_who_has_none_needs_none(self, api, alice):
        assert log_in(api).status_code == 200
        assert log_in(api, otp="123456").status_code == 200


class TestPages:
    @pytest.fixture
    def alice(self, alice, verify):
        return verify(alice)

    def enter(self, client):
        return client.post("/accounts/login/", {"username": "alice@example.test", "password": PASSWORD})

    def once_more(self, client):
        """Give the password again, which is asked for before a way into an account changes."""
        return client.post("/accounts/reauthenticate/", {"password": PASSWORD})

    def test_an_app_is_set_up_asked_for_and_taken_off(self, client, alice, django_capture_on_commit_callbacks):
        self.enter(client)
        self.once_more(client)
        page = client.get("/accounts/2fa/totp/activate/")
        assert "data:image/svg+xml" in page.content.decode()
        with django_capture_on_commit_callbacks(execute=True):
            answer = client.post("/accounts/2fa/totp/activate/", {"code": code_of(secret_on(page))})
        assert answer["Location"] == "/accounts/2fa/recovery-codes/"
        codes = re.search(r"<pre[^>]*>([\d\s]+)</pre>", client.get(answer["Location"]).content.decode()).group(1)
        assert len(codes.split()) == 10
        assert "authenticator app was set up" in "".join(Mail.objects.values_list("subject", flat=True))
        assert AuditEvent.objects.filter(action="second_factor.totp_activated", actor=alice).exists()
        client.post("/accounts/logout/")

        assert self.enter(client)["Location"] == "/accounts/2fa/authenticate/"
        assert client.get("/accounts/")["Location"].startswith("/accounts/login/")
        refused = client.post("/accounts/2fa/authenticate/", {"code": "000000"})
        assert "wrong, over or used" in refused.content.decode()
        assert client.post("/accounts/2fa/authenticate/", {"code": codes.split()[0]})["Location"] == "/"
        self.once_more(client)
        assert client.post("/accounts/2fa/totp/deactivate/")["Location"] == "/accounts/2fa/"
        assert not Authenticator.objects.exists()

    def test_before_the_address_is_confirmed_there_is_none_to_set_up(self, client, bob):
        client.force_login(bob)
        page = unescape(client.get("/accounts/2fa/").content.decode())
        assert "First confirm your address" in page
        assert "totp/activate" not in page
        for path in ("totp/activate/", "webauthn/add/"):
            for refused in (client.get(f"/accounts/2fa/{path}"), client.post(f"/accounts/2fa/{path}", {})):
                assert refused.status_code == 403
                assert "Confirm your address first" in refused.content.decode()

    def test_staff_keep_their_last_one_where_they_need_it(self, client, dana, settings):
        settings.STAFF_MFA = True
        set_up(dana)
        client.post("/accounts/login/", {"username": dana.email, "password": PASSWORD})
        client.post("/accounts/2fa/authenticate/", {"code": second_factor_code(dana)})
        client.post("/accounts/reauthenticate/", {"password": PASSWORD})
        page = client.get("/accounts/2fa/").content.decode()
        assert "set up another one first" in page
        assert "Take it off" not in page
        for refused in (client.get(OFF), client.post(OFF)):
            assert refused.status_code == 409
            assert "set up another one before" in refused.content.decode()
        key = Authenticator.objects.create(user=dana, type=Authenticator.Type.WEBAUTHN, data={"name": "Key"})
        assert client.post(OFF).status_code == 302
        remove = f"/accounts/2fa/webauthn/keys/{key.pk}/remove/"
        assert [client.get(remove).status_code, client.post(remove).status_code] == [409, 409]
        settings.STAFF_MFA = False
        assert client.post(remove).status_code == 302
        assert not Authenticator.objects.exists()

    def test_wrong_codes_lock_out_there_too(self, client, alice):
        secret, _ = set_up(alice)
        self.enter(client)
        for _ in range(5):
            assert client.post("/accounts/2fa/authenticate/", {"code": "000000"}).status_code == 200
        locked = client.post("/accounts/2fa/authenticate/", {"code": code_of(secret)})
        assert locked.status_code == 429
        assert int(locked["Retry-After"]) > 0

    def test_who_is_logged_in_gives_the_password_again_first(self, client, alice):
        self.enter(client)
        answer = client.get("/accounts/2fa/totp/activate/")
        assert answer["Location"].startswith("/accounts/reauthenticate/?next=")
        wrong = client.post(answer["Location"], {"password": "no"})
        assert wrong.status_code == 200
        assert client.post(answer["Location"], {"password": PASSWORD})["Location"] == "/accounts/2fa/totp/activate/"

    def test_secrets_are_sealed_in_the_database(self, alice):
        secret, codes = set_up(alice)
        stored = str(list(Authenticator.objects.values_list("data", flat=True)))
        assert secret not in stored
        assert not any(one in stored for one in codes)

    def test_they_open_for_whoever_is_logged_in_alone(self, client, alice):
        paths = ["", "totp/activate/", "webauthn/", "webauthn/add/", "recovery-codes/", "recovery-codes/generate/"]
        for path in paths:
            assert client.get(f"/accounts/2fa/{path}")["Location"].startswith("/accounts/")

    def test_keys_of_another_are_not_there(self, client, alice, bob):
        key = Authenticator.objects.create(user=bob, type=Authenticator.Type.WEBAUTHN, data={"name": "Bob's"})
        self.enter(client)
        self.once_more(client)
        for verb in ("edit", "remove"):
            assert client.post(f"/accounts/2fa/webauthn/keys/{key.pk}/{verb}/", {"name": "x"}).status_code == 404
        assert Authenticator.objects.filter(pk=key.pk).exists()

    @pytest.mark.parametrize("credential", ["", "x", "[]", "{}", '{"id": "x"}', '{"rawId": 1, "response": []}'])
    def test_garbage_is_no_security_key(self, client, alice, credential):
        self.enter(client)
        self.once_more(client)
        client.get("/accounts/2fa/webauthn/add/")
        answer = client.post("/accounts/2fa/webauthn/add/", {"name": "x", "credential": credential})
        assert answer.status_code in {200, 400}
        assert not Authenticator.objects.exists()

    @pytest.mark.parametrize("credential", ["", "x", "[]", "{}", '{"id": "x"}', '{"rawId": 1, "response": []}'])
    def test_garbage_is_no_second_factor(self, client, alice, credential):
        set_up(alice)
        self.enter(client)
        assert client.post("/accounts/2fa/authenticate/", {"credential": credential}).status_code in {200, 400}


class TestRemove:
    def test_staff_take_it_off_who_lost_it_and_log_them_out(self, client, api, root, alice):
        set_up(alice)
        pair = open_log_in(user=alice)
        client.force_login(root)
        client.post(reverse("admin:accounts_user_remove_second_factor", args=[alice.pk]), {"post": "yes"})
        assert not Authenticator.objects.exists()
        refreshed = api().post("/api/v1/auth/token/refresh/", {"refresh": pair.refresh}, format="json")
        assert refreshed.status_code == 401
        assert log_in(api).status_code == 200
        assert AuditEvent.objects.get(action="user.remove_second_factor").actor == root

    def test_others_do_not(self, client, alice, bob):
        set_up(alice)
        client.force_login(bob)
        client.post(reverse("admin:accounts_user_remove_second_factor", args=[alice.pk]), {"post": "yes"})
        assert Authenticator.objects.filter(user=alice).exists()

    def test_nobody_less_takes_it_off_a_superuser(self, client, root, dana):
        set_up(root)
        client.force_login(dana)
        client.post(reverse("admin:accounts_user_remove_second_factor", args=[root.pk]), {"post": "yes"})
        assert Authenticator.objects.filter(user=root).exists()


def test_the_page_s_text_is_escaped(client, alice):
    Authenticator.objects.create(user=alice, type=Authenticator.Type.WEBAUTHN, data={"name": "<img onerror=x>"})
    client.force_login(alice)
    text = client.get("/accounts/2fa/webauthn/").content.decode()
    assert "<img onerror" not in text
    assert "<img onerror=x>" in unescape(text)


def test_a_code_is_good_once_for_as_long_as_it_is_shown(alice, rf, monkeypatch):
    """The app's next code is taken already, and the one before still: a minute and a half in all."""
    secret, _ = set_up(alice)
    began = time.time() // 30 * 30 + 1
    monkeypatch.setattr(time, "time", lambda: began)
    code = code_of(secret, at=began + 30)
    second_factor.check_code(user=alice, code=code, request=rf.post("/"))
    for later in (1, 31, 61, 87):
        monkeypatch.setattr(time, "time", lambda later=later: began + later)
        with pytest.raises(second_factor.OtpInvalid):
            second_factor.check_code(user=alice, code=code, request=rf.post("/"))


class TestSecrets:
    def test_they_open_after_a_change_of_the_key_while_the_old_one_is_listed(self, settings):
        adapter = SecondFactorAdapter()
        sealed = adapter.encrypt("a seed")
        old, settings.SECRET_KEY = settings.SECRET_KEY, "another key"
        with pytest.raises(InvalidToken):
            adapter.decrypt(sealed)
        settings.SECRET_KEY_FALLBACKS = [old]
        assert adapter.decrypt(sealed) == "a seed"
