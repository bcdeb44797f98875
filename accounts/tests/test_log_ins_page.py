from __future__ import annotations

import pytest
from allauth.usersessions.models import UserSession
from django.test import Client

from accounts.models import TokenFamily
from accounts.services.tokens import open_log_in
from gaas.tests.cast import PASSWORD

pytestmark = pytest.mark.django_db

URL = "/accounts/sessions/"


def browser(user, agent="Browser"):
    client = Client(headers={"User-Agent": agent})
    client.post("/accounts/login/", {"username": user.email, "password": PASSWORD})
    return client


class TestLogIns:
    def test_it_lists_browsers_and_programs_of_one_s_own(self, alice, bob):
        here, _, _ = browser(alice, "Here <b>"), browser(alice, "There"), browser(bob, "Of Bob")
        open_log_in(user=alice)
        open_log_in(user=bob)
        text = here.get(URL).content.decode()
        assert "This browser" in text
        assert "There" in text
        assert text.count("A program, by tokens of the API</h2>") == 1
        assert "Of Bob" not in text
        assert "Here <b>" not in text

    def test_it_ends_one(self, alice):
        here, there = browser(alice), browser(alice)
        family = TokenFamily.objects.get(user=open_log_in(user=alice) and alice)
        session = UserSession.objects.exclude(session_key=here.session.session_key).get()
        here.post(URL, {"key": f"session:{session.pk}"})
        assert there.get(URL).status_code == 302
        here.post(URL, {"key": f"tokens:{family.pk}"})
        family.refresh_from_db()
        assert family.ended_at is not None
        assert here.get(URL).status_code == 200

    def test_it_ends_all_others(self, api, alice, bob):
        here, there, of_bob, program = browser(alice), browser(alice), browser(bob), api(alice)
        here.post(URL, {"all": "others"})
        assert here.get(URL).status_code == of_bob.get(URL).status_code == 200
        assert there.get(URL).status_code == 302
        assert program.get("/api/v1/users/me/").status_code == 401

    @pytest.mark.parametrize("kind", ["session", "tokens"])
    def test_it_ends_none_of_another_s(self, api, alice, bob, kind):
        mine, of_bob = browser(alice), browser(bob)
        program = api(bob)
        of = {"session": UserSession.objects.get(user=bob).pk, "tokens": TokenFamily.objects.get(user=bob).pk}
        text = mine.post(URL, {"key": f"{kind}:{of[kind]}"}, follow=True).content.decode()
        assert "has ended already" in text
        assert of_bob.get(URL).status_code == 200
        assert program.get("/api/v1/users/me/").status_code == 200

    @pytest.mark.parametrize("key", ["", "x", "session:", "session:x", "tokens:x", "session:-1", "session:1e9", ":::"])
    def test_garbage_ends_nothing(self, alice, key):
        mine = browser(alice)
        assert mine.post(URL, {"key": key}).status_code == 302
        assert mine.get(URL).status_code == 200

    def test_who_is_not_logged_in_is_led_to_it(self, client):
        assert client.get(URL)["Location"] == f"/accounts/login/?next={URL}"


class TestLogOut:
    def test_it_ends_everything_or_this_browser_alone(self, api, alice):
        here, there, program = browser(alice), browser(alice), api(alice)
        here.post("/accounts/logout/", {"only": "here"})
        assert here.get(URL).status_code == 302
        assert there.get(URL).status_code == 200
        assert program.get("/api/v1/users/me/").status_code == 200
        there.post("/accounts/logout/")
        assert there.get(URL).status_code == 302
        assert program.get("/api/v1/users/me/").status_code == 401

    def test_following_a_link_logs_nobody_out(self, alice):
        here = browser(alice)
        assert here.get("/accounts/logout/").status_code == 200
        assert here.get(URL).status_code == 200
