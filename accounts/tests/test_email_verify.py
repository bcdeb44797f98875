from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.core import signing
from django.utils import timezone

from accounts.models import User
from accounts.services.keys import create_key
from accounts.services.register import SALT, verification_key
from accounts.services.tokens import open_log_in
from accounts.tests.second_factors import set_up
from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.outbox.models import Mail
from gaas.tests.cast import PASSWORD

pytestmark = pytest.mark.django_db

URL = "/api/v1/auth/email/verify/"


class TestVerifyEmail:
    def test_the_link_of_the_letter_leads_to_it(self, api, client, settings):
        api().post("/api/v1/auth/register/", {"email": "new@example.test", "password": PASSWORD}, format="json")
        link = re.search(r"http\S+key=\S+", Mail.objects.get().body).group(0)
        assert link.startswith(settings.BASE_URL)
        page = client.get(link.removeprefix(settings.BASE_URL), HTTP_ACCEPT="text/html").content.decode()
        key = unescape(re.search(r'name="key"[^>]*value="([^"]+)"', page).group(1))
        assert User.objects.get().email_verified_at is None
        answer = api().post(URL, {"key": key, "password": PASSWORD}, format="json")
        assert answer.status_code == 200
        assert answer.json()["email"] == "new@example.test"
        assert User.objects.get().email_verified_at is not None

    def test_a_second_time_changes_nothing(self, api, alice):
        key = verification_key(alice)
        api().post(URL, {"key": key, "password": PASSWORD}, format="json")
        alice.refresh_from_db()
        first = alice.email_verified_at
        assert api().post(URL, {"key": key}, format="json").status_code == 200
        alice.refresh_from_db()
        assert alice.email_verified_at == first

    def test_a_key_is_good_for_its_address_alone(self, api, alice):
        key = verification_key(alice)
        alice.email = "other@example.test"
        alice.save()
        assert api().post(URL, {"key": key}, format="json").status_code == 400

    def test_it_runs_out(self, api, alice, monkeypatch):
        key = verification_key(alice)
        later = (timezone.now() + timedelta(days=4)).timestamp()
        monkeypatch.setattr(signing.time, "time", lambda: later)
        assert api().post(URL, {"key": key}, format="json").status_code == 400

    @pytest.mark.parametrize(
        "key",
        [
            "x",
            "a:b:c",
            "ü",
            signing.dumps(["x", "y"], salt=SALT),
            signing.dumps(7, salt=SALT),
            signing.dumps("ab", salt=SALT),
        ],
        # Signed keys carry the moment; workers that share the tests must agree on their names.
        ids=["a word", "colons", "not ASCII", "a list", "a number", "another text"],
    )
    def test_it_refuses_other_keys(self, api, alice, key):
        answer = api().post(URL, {"key": key}, format="json")
        assert answer.status_code == 400
        error = answer.json()["errors"][0]
        assert (error["code"], error["attr"]) == ("invalid_email_key", "key")

    @pytest.mark.parametrize("body", [{}, {"key": None}, {"key": 1}, {"key": "x" * 1001}, {"key": "x", "email": "y"}])
    def test_it_refuses_bad_bodies(self, api, body):
        assert api().post(URL, body, format="json").status_code == 400

    def test_whoever_registers_again_unconfirmed_gets_a_new_key(self, api, alice):
        body = {"email": alice.email, "password": PASSWORD}
        api().post("/api/v1/auth/register/", body, format="json")
        assert "key=" in Mail.objects.get().body
        Mail.objects.all().delete()
        User.objects.update(email_verified_at=timezone.now())
        api().post("/api/v1/auth/register/", body, format="json")
        assert "key=" not in Mail.objects.get().body


NEW = "another horse battery staple"


class TestWhoReadsTheMail:
    """Alice's address was registered by a stranger, who knows the password, waits, and has set up what they could."""

    @pytest.fixture
    def waiting(self, api, alice):
        _, text = create_key(user=alice, name="waits", scopes=["tasks:read"], now=clock.now())
        pair = open_log_in(user=alice)
        return lambda: {
            "password": api()
            .post("/api/v1/auth/token/", {"email": alice.email, "password": PASSWORD}, format="json")
            .status_code,
            "refresh": api().post("/api/v1/auth/token/refresh/", {"refresh": pair.refresh}, format="json").status_code,
            "key": api().get("/api/v1/tasks/", HTTP_AUTHORIZATION=f"Api-Key {text}").status_code,
        }

    def test_a_key_alone_confirms_nothing(self, api, alice):
        answer = api().post(URL, {"key": verification_key(alice)}, format="json")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "password_required")
        assert User.objects.get().email_verified_at is None

    def test_a_guess_confirms_nothing_and_counts(self, api, alice):
        key = verification_key(alice)
        said = [api().post(URL, {"key": key, "password": "guess"}, format="json") for _ in range(6)]
        codes = [answer.json()["errors"][0]["code"] for answer in said]
        assert codes == ["wrong_password"] * 5 + ["locked_out"]
        assert User.objects.get().email_verified_at is None

    def test_a_new_password_leaves_the_stranger_nothing(self, api, alice, waiting):
        assert waiting() == {"password": 200, "refresh": 200, "key": 200}
        answer = api().post(URL, {"key": verification_key(alice), "new_password": NEW}, format="json")
        assert answer.status_code == 200
        assert waiting() == {"password": 401, "refresh": 401, "key": 401}
        hers = api().post("/api/v1/auth/token/", {"email": alice.email, "password": NEW}, format="json")
        assert hers.status_code == 200
        assert User.objects.get().email_verified_at is not None

    def test_a_weak_one_is_refused(self, api, alice):
        answer = api().post(URL, {"key": verification_key(alice), "new_password": "password"}, format="json")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "weak_password")
        assert User.objects.get().email_verified_at is None

    def test_a_second_factor_of_theirs_ends_too(self, api, alice):
        set_up(alice)
        assert api().post(URL, {"key": verification_key(alice), "new_password": NEW}, format="json").status_code == 200
        hers = api().post("/api/v1/auth/token/", {"email": alice.email, "password": NEW}, format="json")
        assert hers.status_code == 200
        assert AuditEvent.objects.get(action="user.remove_second_factor").object_id == str(alice.pk)

    def test_who_knows_the_password_keeps_it(self, api, alice):
        set_up(alice)
        api().post(URL, {"key": verification_key(alice), "password": PASSWORD}, format="json")
        hers = api().post("/api/v1/auth/token/", {"email": alice.email, "password": PASSWORD}, format="json")
        assert hers.json()["errors"][0]["code"] == "otp_required"

    def test_once_confirmed_it_is_no_mail_s_to_take_off(self, api, alice, verify):
        set_up(verify(alice))
        api().post(URL, {"key": verification_key(alice), "new_password": NEW}, format="json")
        hers = api().post("/api/v1/auth/token/", {"email": alice.email, "password": PASSWORD}, format="json")
        assert hers.json()["errors"][0]["code"] == "otp_required"

    def test_the_page_asks_whoever_it_does_not_know(self, client, alice):
        key = verification_key(alice)
        page = client.get("/accounts/verify-email/", {"key": key}).content.decode()
        assert 'name="password"' in page
        assert 'name="new_password"' in page
        empty = client.post("/accounts/verify-email/", {"key": key})
        assert empty.status_code == 400
        assert "set a new one" in unescape(empty.content.decode())
        client.post("/accounts/verify-email/", {"key": key, "password": PASSWORD})
        assert User.objects.get().email_verified_at is not None

    def test_the_page_of_who_registered_here_or_is_logged_in_has_a_button_alone(self, client, alice, bob):
        client.force_login(bob)
        page = client.get(f"/accounts/verify-email/?key={verification_key(alice)}").content.decode()
        assert 'name="password"' in page
        client.force_login(alice)
        page = client.get(f"/accounts/verify-email/?key={verification_key(alice)}").content.decode()
        assert 'name="password"' not in page

    def test_a_try_to_register_a_taken_address_makes_nobody_known(self, client, alice):
        client.post("/accounts/signup/", {"name": "A", "email": alice.email, "password": NEW})
        page = client.get(f"/accounts/verify-email/?key={verification_key(alice)}").content.decode()
        assert 'name="password"' in page
