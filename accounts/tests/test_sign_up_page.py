from __future__ import annotations

import re
from html import unescape

import pytest

from accounts.models import User
from gaas.outbox.models import Mail
from gaas.tests.cast import PASSWORD

pytestmark = pytest.mark.django_db

URL = "/accounts/signup/"


def form(**changes):
    return {"name": "New", "email": "new@example.test", "password": PASSWORD, **changes}


class TestSignUp:
    def test_it_makes_a_user_who_confirms_the_address_and_logs_in(self, client, settings):
        assert "Look into your mail" in client.post(URL, form()).content.decode()
        link = re.search(r"http\S+key=\S+", Mail.objects.get().body).group(0)
        assert link.startswith(f"{settings.BASE_URL}/accounts/verify-email/?key=")
        page = client.get(link.removeprefix(settings.BASE_URL)).content.decode()
        assert User.objects.get().email_verified_at is None
        key = unescape(re.search(r'name="key" value="([^"]+)"', page).group(1))
        assert "is confirmed" in client.post("/accounts/verify-email/", {"key": key}).content.decode()
        assert User.objects.get().email_verified_at is not None
        assert (
            client.post("/accounts/login/", {"username": "new@example.test", "password": PASSWORD})["Location"] == "/"
        )

    def test_it_says_the_same_of_a_taken_address(self, client, alice):
        free = client.post(URL, form())
        taken = client.post(URL, form(email=alice.email))
        assert taken.status_code == free.status_code
        assert taken.content.decode().replace(alice.email, "new@example.test") == free.content.decode()

    @pytest.mark.parametrize(
        "changes",
        [{"email": "x"}, {"email": ""}, {"password": "short"}, {"password": "password123"}, {"name": "\x00"}],
    )
    def test_it_says_what_is_wrong_and_keeps_what_was_typed(self, client, changes):
        answer = client.post(URL, form(**changes))
        text = answer.content.decode()
        assert answer.status_code == 400
        assert 'role="alert"' in text
        assert PASSWORD not in text
        assert changes.get("name") or 'value="New"' in text
        assert not User.objects.exists()

    def test_it_says_so_where_registration_is_closed(self, client, settings):
        settings.REGISTRATION = "closed"
        assert "takes no registrations" in client.get(URL).content.decode()
        assert client.post(URL, form()).status_code == 403

    def test_it_is_throttled_with_the_api(self, client, api):
        for _ in range(10):
            api().post("/api/v1/auth/register/", {}, format="json")
        assert client.post(URL, form()).status_code == 429


class TestVerify:
    def test_a_letter_is_sent_anew_to_who_is_not_confirmed_and_nobody_can_tell(self, client, alice, bob):
        User.objects.filter(pk=bob.pk).update(email_verified_at=bob.created_at)
        told = set()
        for email in (alice.email, bob.email, "nobody@example.test"):
            answer = client.post("/accounts/verify-email/letter/", {"email": email})
            told.add(answer.content.decode().replace(email, ""))
        assert len(told) == 1
        assert [mail.to for mail in Mail.objects.all()] == [alice.email]

    @pytest.mark.parametrize("key", ["x", "a:b:c", "\x00", "x" * 2000])
    def test_it_refuses_other_keys(self, client, key):
        assert client.post("/accounts/verify-email/", {"key": key}).status_code == 400

    def test_a_link_without_a_key_leads_to_a_new_letter(self, client):
        assert client.get("/accounts/verify-email/")["Location"] == "/accounts/verify-email/letter/"
