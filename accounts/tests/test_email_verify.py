from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.core import signing
from django.utils import timezone

from accounts.models import User
from accounts.services.register import SALT, verification_key
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
        answer = api().post(URL, {"key": key}, format="json")
        assert answer.status_code == 200
        assert answer.json()["email"] == "new@example.test"
        assert User.objects.get().email_verified_at is not None

    def test_a_second_time_changes_nothing(self, api, alice):
        key = verification_key(alice)
        api().post(URL, {"key": key}, format="json")
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
