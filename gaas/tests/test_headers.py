"""What every answer tells a browser: what a page may do, and which pages elsewhere may ask."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db

APP = "https://app.example.com"
LOOK_ALIKES = [
    "https://evil.example",
    "null",
    "https://app.example.com.evil.example",
    "https://evilapp.example.com",
    "https://sub.app.example.com",
    "http://app.example.com",
    "https://app.example.com:444",
    "https://app.example.co",
    "https://APP.example.com.",
    "file://",
    "*",
]


def policy(path: str, web: Client) -> dict[str, str]:
    parts = web.get(path, headers={"Accept": "text/html"})["Content-Security-Policy"].split(";")
    return {name: rest for name, _, rest in (part.strip().partition(" ") for part in parts)}


@pytest.fixture
def web() -> Client:
    return Client(raise_request_exception=False)


class TestPolicy:
    @pytest.mark.parametrize("path", ["/", "/accounts/login/", "/accounts/signup/", "/nowhere", "/livez", "/?x=%00"])
    def test_it_is_strict(self, web: Client, path: str) -> None:
        found = policy(path, web)
        assert found["default-src"] == found["script-src"] == found["style-src"] == found["form-action"] == "'self'"
        assert found["object-src"] == found["frame-ancestors"] == "'none'"

    def test_it_lets_the_admin_alone_evaluate(self, web: Client, root: Any) -> None:
        web.force_login(root)
        assert policy("/admin/", web)["script-src"] == "'self' 'unsafe-eval'"
        for path in ("/", "/api/docs/", "/api/redoc/", "/api/v1/accounts/", "/accounts/"):
            assert policy(path, web)["script-src"] == "'self'", path

    def test_it_lets_no_page_run_what_stands_in_it_or_comes_from_elsewhere(self, web: Client, root: Any) -> None:
        web.force_login(root)
        for path in ("/", "/admin/", "/api/docs/", "/api/redoc/", "/api/v1/accounts/", "/accounts/", "/nowhere"):
            text = web.get(path, headers={"Accept": "text/html"})["Content-Security-Policy"]
            assert "unsafe-inline" not in policy(path, web)["script-src"]
            assert "http" not in text.replace("unsafe", "")
            assert "*" not in text

    def test_it_stands_beside_the_other_headers(self, web: Client) -> None:
        answer = web.get("/")
        assert answer["X-Frame-Options"] == "DENY"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Referrer-Policy"] == "same-origin"

    def test_https_is_asked_for_by_base_url(self, web: Client, settings: Any) -> None:
        settings.SECURE_HSTS_SECONDS = 31_536_000
        assert "max-age=31536000" in Client().get("/", secure=True)["Strict-Transport-Security"]


class TestOrigins:
    @pytest.fixture(autouse=True)
    def _configured(self, settings: Any) -> None:
        settings.CORS_ALLOWED_ORIGINS = [APP, "http://localhost:5173"]

    @pytest.mark.parametrize("origin", [APP, "http://localhost:5173"])
    def test_a_configured_one_may_ask(self, web: Client, origin: str) -> None:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = web.options("/api/v1/auth/token/", headers=asked)
        assert answer["Access-Control-Allow-Origin"] == origin
        assert "authorization" in answer["Access-Control-Allow-Headers"]
        assert web.get("/api/v1/users/me/", headers={"Origin": origin})["Access-Control-Allow-Origin"] == origin

    @pytest.mark.parametrize("origin", LOOK_ALIKES)
    def test_no_other_is_ever_named(self, web: Client, origin: str) -> None:
        for method in (web.options, web.get, web.post):
            asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            answer = method("/api/v1/auth/token/", headers=asked)
            assert "Access-Control-Allow-Origin" not in answer
            assert "Access-Control-Allow-Credentials" not in answer

    def test_pages_are_for_nobody_elsewhere(self, web: Client) -> None:
        for path in ("/", "/admin/", "/accounts/login/"):
            assert "Access-Control-Allow-Origin" not in web.get(path, headers={"Origin": APP})


class TestLimits:
    def test_every_counted_answer_says_what_is_left(self, web: Client, alice: Any, api: Any) -> None:
        client = api(alice)
        first, second = client.get("/api/v1/users/me/"), client.get("/api/v1/users/me/")
        assert first["RateLimit-Limit"] == "1200"
        assert int(first["RateLimit-Remaining"]) - int(second["RateLimit-Remaining"]) == 1
        assert 1 <= int(first["RateLimit-Reset"]) <= 60
