from __future__ import annotations

import pytest
from allauth.usersessions.models import UserSession
from django.test import Client

from accounts.models import User
from gaas.tests.cast import PASSWORD

pytestmark = pytest.mark.django_db

URL = "/accounts/login/"
ELSEWHERE = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https:evil.example",
    "https://evil.example/",
    "http://testserver/",
    "javascript:alert(1)",
    "\tjavascript:alert(1)",
    "/\t/evil.example",
    "data:text/html,x",
]


def form(email="alice@example.test", password=PASSWORD, **more):
    return {"username": email, "password": password, **more}


class TestLogInPage:
    def test_it_logs_in_and_out(self, client, alice):
        assert 'autocomplete="username"' in client.get(URL).content.decode()
        answer = client.post(URL, form("Alice@Example.test"))
        assert (answer.status_code, answer["Location"]) == (302, "/")
        assert "Hello, Alice" in client.get("/").content.decode()
        client.post("/accounts/logout/")
        assert "Hello, Alice" not in client.get("/").content.decode()

    def test_it_leads_on(self, client, alice):
        assert client.post(f"{URL}?next=/api/v1/tasks/", form())["Location"] == "/api/v1/tasks/"
        client.logout()
        assert client.post(URL, form(next="/api/v1/tasks/"))["Location"] == "/api/v1/tasks/"

    @pytest.mark.parametrize("target", ELSEWHERE)
    def test_it_leads_nowhere_else(self, client, alice, target):
        assert client.get(URL, {"next": target}).status_code == 400
        assert client.post(URL, form(next=target)).status_code == 400
        assert client.post("/accounts/logout/", {"next": target}).status_code == 400
        assert client.get("/admin/login/", {"next": target}).status_code == 400
        assert client.get("/api-auth/login/", {"next": target}).status_code == 400

    def test_it_says_the_same_of_wrong_unknown_and_inactive(self, client, alice, bob):
        User.objects.filter(pk=bob.pk).update(is_active=False)
        told = set()
        for email, password in [("alice@example.test", "no"), ("no@example.test", "x"), ("bob@example.test", PASSWORD)]:
            answer = client.post(URL, form(email, password))
            assert answer.status_code == 400
            told.add(answer.content.decode().replace(email, "").partition('role="alert"')[2].partition("<label")[0])
        assert len(told) == 1
        assert "not correct" in told.pop()

    def test_it_begins_another_session(self, client, alice):
        client.get("/accounts/login/")
        session = client.session
        session["planted"] = "x"
        session.save()
        before = client.cookies["sessionid"].value if "sessionid" in client.cookies else session.session_key
        client.post(URL, form())
        assert client.session.session_key != before

    def test_it_wants_its_own_token(self, alice):
        answer = Client(enforce_csrf_checks=True).post(URL, form())
        assert answer.status_code == 403
        assert "out of date" in answer.content.decode()

    def test_it_shares_the_limit_of_the_api(self, client, api, settings, alice):
        settings.LOG_IN_FAILURES = 100
        for _ in range(5):
            client.post(URL, form(password="no"))
            api().post("/api/v1/auth/token/", {"email": "alice@example.test", "password": "no"}, format="json")
        answer = client.post(URL, form())
        assert answer.status_code == 429
        assert 1 <= int(answer["Retry-After"]) <= 60
        assert "Too many tries" in answer.content.decode()

    def test_it_wants_a_confirmed_address_where_that_is_asked_for(self, client, alice, settings):
        settings.REQUIRE_VERIFIED_EMAIL = True
        answer = client.post(URL, form())
        assert answer["Location"] == "/accounts/verify-email/first/"
        assert client.get("/accounts/").status_code == 302
        User.objects.filter(pk=alice.pk).update(email_verified_at=alice.created_at)
        assert client.post(URL, form())["Location"] == "/"

    @pytest.mark.parametrize("password", ["x" * 10_000, "\x00", "ü" * 500])
    def test_it_takes_any_password_and_lets_nobody_in_by_it(self, client, alice, password):
        assert client.post(URL, form(password=password)).status_code == 400


class TestAdminLogIn:
    def test_it_is_the_same_page(self, client, root):
        answer = client.get("/admin/")
        answer = client.get(answer["Location"])
        assert answer["Location"] == "/accounts/login/?next=%2Fadmin%2F"
        assert client.post(answer["Location"], form("root@example.test"))["Location"] == "/admin/"
        assert client.get("/admin/").status_code == 200
        client.post("/admin/logout/")
        assert client.get("/admin/").status_code == 302

    def test_it_does_not_run_in_circles_for_who_is_no_staff(self, client, alice):
        client.force_login(alice)
        assert client.get("/admin/", follow=True).status_code == 403

    def test_it_takes_no_password_itself(self, client, root):
        client.post("/admin/login/", form("root@example.test"))
        assert not UserSession.objects.exists()


class TestStaffSecondFactor:
    def test_staff_without_one_get_nowhere_else(self, client, dana, settings, api):
        settings.STAFF_MFA = True
        client.force_login(dana)
        assert client.get("/admin/")["Location"] == "/accounts/2fa/"
        assert client.get("/")["Location"] == "/accounts/2fa/"
        refused = client.get("/api/v1/users/me/")
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (403, "second_factor_missing")
        assert client.get("/accounts/2fa/").status_code == 200
        answer = api().post("/api/v1/auth/token/", {"email": dana.email, "password": PASSWORD}, format="json")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, "second_factor_missing")

    def test_others_need_none(self, client, alice, settings, api):
        settings.STAFF_MFA = True
        client.force_login(alice)
        assert client.get("/").status_code == 200
        body = {"email": alice.email, "password": PASSWORD}
        assert api().post("/api/v1/auth/token/", body, format="json").status_code == 200
