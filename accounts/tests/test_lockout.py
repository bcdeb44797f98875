from __future__ import annotations

from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.contrib.auth import hashers
from django.urls import reverse

from accounts.actors import forget_log_ins
from accounts.models import User
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.tests.cast import PASSWORD, make_user

pytestmark = pytest.mark.django_db

URL = "/api/v1/auth/token/"
NO_LIMIT = {"token": "100000/min", "token_address": "100000/min"}


@pytest.fixture(autouse=True)
def _no_throttle(monkeypatch):
    """Let the lock be what refuses."""
    from rest_framework.settings import api_settings

    monkeypatch.setattr(
        api_settings, "DEFAULT_THROTTLE_RATES", {**api_settings.DEFAULT_THROTTLE_RATES, **NO_LIMIT}, raising=False
    )


@pytest.fixture
def hashed(monkeypatch, settings):
    """Count every password hash; a quick hasher, since there are many."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    made = []
    encode = hashers.MD5PasswordHasher.encode
    monkeypatch.setattr(hashers.MD5PasswordHasher, "encode", lambda self, *a: (made.append(a[0]), encode(self, *a))[1])
    return made


def log_in(api, email="alice@example.test", password="wrong", address="10.0.0.1", **headers):
    return api().post(URL, {"email": email, "password": password}, format="json", REMOTE_ADDR=address, **headers)


class TestLockOut:
    def test_it_begins_with_the_sixth_wrong_one_and_says_until_when(self, api, alice):
        assert [log_in(api).status_code for _ in range(7)] == [401] * 5 + [429] * 2
        refused = log_in(api, password=PASSWORD)
        assert refused.status_code == 429
        assert refused.json()["errors"][0]["code"] == "locked_out"
        assert 800 <= int(refused["Retry-After"]) <= 900

    def test_it_leaves_others_and_other_addresses_alone(self, api, alice, bob):
        for _ in range(6):
            log_in(api)
        assert log_in(api, "bob@example.test", PASSWORD).status_code == 200
        assert log_in(api, password=PASSWORD, address="10.0.0.2").status_code == 200

    def test_a_thousand_wrong_ones_hash_alike_for_known_and_unknown_and_lock_nobody_else(self, api, hashed):
        make_user("Known")
        make_user("Other")
        User.objects.update(password=hashers.make_password(PASSWORD))
        counts = {}
        for email in ("known@example.test", "nobody@example.test"):
            hashed.clear()
            assert [log_in(api, email).status_code for _ in range(500)] == [401] * 5 + [429] * 495
            counts[email] = len(hashed)
        assert counts == {"known@example.test": 5, "nobody@example.test": 5}
        assert log_in(api, "known@example.test", PASSWORD).status_code == 429
        assert log_in(api, "other@example.test", PASSWORD).status_code == 200
        assert log_in(api, "known@example.test", PASSWORD, address="10.0.0.2").status_code == 200

    def test_many_accounts_from_one_address_lock_the_address(self, api, alice, settings):
        User.objects.update(password="!")
        settings.LOG_IN_FAILURES_OF_ADDRESS = 12
        statuses = [log_in(api, f"{n}@example.test", "").status_code for n in range(3)]
        assert statuses == [400] * 3
        wrong = [log_in(api, f"{n % 4}@example.test").status_code for n in range(12)]
        assert wrong == [401] * 12
        assert log_in(api, "another@example.test").status_code == 429
        assert log_in(api, "another@example.test", address="10.0.0.2").status_code == 401

    @pytest.mark.parametrize(
        "alias", ["ALICE@EXAMPLE.TEST", " alice@example.test ", "ａｌｉｃｅ@example.test", "Alice@example.test"]
    )
    def test_no_spelling_passes_by_it(self, api, alice, alias):
        statuses = [log_in(api, alias if n % 2 else "alice@example.test").status_code for n in range(6)]
        assert statuses == [401] * 5 + [429]
        assert log_in(api, alias, PASSWORD).status_code == 429

    @pytest.mark.parametrize("header", ["X_FORWARDED_FOR", "X_REAL_IP", "FORWARDED", "TRUE_CLIENT_IP", "USER_AGENT"])
    def test_no_header_passes_by_it(self, api, alice, header):
        statuses = [log_in(api, **{f"HTTP_{header}": f"10.9.0.{n}"}).status_code for n in range(6)]
        assert statuses == [401] * 5 + [429]

    def test_behind_a_proxy_it_counts_by_what_that_saw(self, api, alice, settings):
        settings.TRUSTED_PROXIES = 1
        for n in range(5):
            assert log_in(api, HTTP_X_FORWARDED_FOR=f"10.9.0.{n}, 20.0.0.1").status_code == 401
        assert log_in(api, HTTP_X_FORWARDED_FOR="20.0.0.1").status_code == 429
        assert log_in(api, password=PASSWORD, HTTP_X_FORWARDED_FOR="20.0.0.2").status_code == 200

    def test_one_network_of_ipv6_is_one_address(self, api, alice):
        statuses = [log_in(api, address=f"2001:db8::{n}").status_code for n in range(1, 7)]
        assert statuses == [401] * 5 + [429]
        assert log_in(api, password=PASSWORD, address="2001:db8:1::1").status_code == 200

    def test_it_holds_for_the_page_and_the_admin_too(self, client, api, root):
        for _ in range(5):
            log_in(api, "root@example.test", address="127.0.0.1")
        answer = client.post("/accounts/login/?next=/admin/", {"username": "root@example.test", "password": PASSWORD})
        assert answer.status_code == 429
        assert int(answer["Retry-After"]) > 0
        assert "Too many wrong log-ins" in answer.content.decode()
        assert client.get("/admin/").status_code == 302

    def test_a_right_one_forgives_the_account_alone(self, api, alice, bob):
        for _ in range(4):
            log_in(api)
            log_in(api, "bob@example.test")
        assert log_in(api, password=PASSWORD).status_code == 200
        assert [log_in(api).status_code for _ in range(4)] == [401] * 4
        assert [log_in(api, "bob@example.test").status_code for _ in range(2)] == [401, 429]

    def test_it_ends(self, api, alice, settings):
        for _ in range(6):
            log_in(api)
        AccessAttempt.objects.update(attempt_time=clock.now() - timedelta(seconds=settings.LOCK_SECONDS + 1))
        assert log_in(api, password=PASSWORD).status_code == 200

    def test_what_locks_nobody_any_more_is_forgotten(self, api, alice, settings):
        log_in(api)
        forget_log_ins.fn()
        assert AccessAttempt.objects.count() == 1
        AccessAttempt.objects.update(attempt_time=clock.now() - timedelta(seconds=settings.LOCK_SECONDS + 1))
        forget_log_ins.fn()
        assert not AccessAttempt.objects.exists()

    def test_no_password_is_kept_with_the_count(self, client, api, alice):
        client.post("/accounts/login/", {"username": "alice@example.test", "password": "a-secret-guess"})
        log_in(api, password="a-secret-guess")
        for attempt in AccessAttempt.objects.all():
            assert "a-secret-guess" not in f"{attempt.post_data}{attempt.get_data}"


class TestAdmin:
    def lock(self, api):
        for _ in range(5):
            log_in(api)
        return AccessAttempt.objects.get()

    def test_staff_see_and_unlock(self, client, api, root, alice):
        attempt = self.lock(api)
        client.force_login(root)
        assert "alice@example.test" in client.get(reverse("admin:axes_accessattempt_changelist")).content.decode()
        assert client.get(reverse("admin:axes_accessattempt_change", args=[attempt.pk])).status_code == 200
        client.post(reverse("admin:axes_accessattempt_unlock", args=[attempt.pk]), {"post": "yes"})
        assert log_in(api, password=PASSWORD).status_code == 200
        event = AuditEvent.objects.get(action="log_in.unlock")
        assert (event.actor, event.before["account"]) == (root, "alice@example.test")

    def test_others_do_not(self, client, api, dana, alice):
        attempt = self.lock(api)
        client.force_login(dana)
        assert client.get(reverse("admin:axes_accessattempt_changelist")).status_code == 403
        client.post(reverse("admin:axes_accessattempt_unlock", args=[attempt.pk]), {"post": "yes"})
        assert log_in(api, password=PASSWORD).status_code == 429

    @pytest.mark.parametrize("model", ["mfa_authenticator", "account_emailaddress", "usersessions_usersession"])
    def test_it_shows_nothing_else_of_the_libraries(self, client, root, model):
        app, name = model.split("_")
        client.force_login(root)
        assert client.get(f"/admin/{app}/{name}/").status_code == 404
