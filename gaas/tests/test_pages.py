from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

pytestmark = pytest.mark.django_db

FOREIGN = re.compile(r"""(?:src|href|action)\s*=\s*["'](?:https?:)?//""", re.IGNORECASE)
INLINE_SCRIPT = re.compile(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", re.IGNORECASE)
ASSET = re.compile(r"""(?:src|href)="/static/([^"?]+)""")


def page(answer: Any, status: int = 200) -> str:
    assert answer.status_code == status
    assert answer["Content-Type"].startswith("text/html")
    return str(answer.content.decode())


@pytest.fixture
def web() -> Client:
    return Client(raise_request_exception=False)


class TestLanding:
    def test_it_says_what_this_is_and_where_to_go(self, web: Client) -> None:
        text = page(web.get("/"))
        for link in ["/accounts/login/", "/accounts/signup/", "/api/docs/", "/api/redoc/", "/api/schema/"]:
            assert f'href="{link}"' in text
        assert "10 GPU-hours" in text
        assert "'self'" in web.get("/")["Content-Security-Policy"]

    def test_it_tells_a_user_what_there_is_and_what_comes_next(self, web: Client, alice: Any) -> None:
        web.force_login(alice)
        text = page(web.get("/"))
        assert "Hello, Alice" in text
        assert "10.000000" in text
        assert "/api/v1/tasks/" in text
        assert "Log out" in text
        assert 'href="/admin/">Admin</a></li>\n' not in text

    def test_it_tells_one_without_hours_to_ask_for_some(self, web: Client, settings: Any) -> None:
        from gaas.tests.cast import make_user

        settings.WELCOME_HOURS = "0"
        web.force_login(make_user("Zoe"))
        assert "/api/v1/quota-requests/" in page(web.get("/"))

    def test_it_escapes_a_name(self, web: Client) -> None:
        from gaas.tests.cast import make_user

        web.force_login(make_user("mallory", is_staff=False).__class__.objects.get())
        user = make_user("eve")
        type(user).objects.filter(pk=user.pk).update(name="<img src=x onerror=alert(1)>")
        web.force_login(user)
        assert "<img" not in page(web.get("/"))

    def test_it_takes_few_queries(self, web: Client, alice: Any, django_assert_max_num_queries: Any) -> None:
        web.force_login(alice)
        with django_assert_max_num_queries(5):
            web.get("/")

    def test_it_shows_no_commands_to_register_where_that_is_closed(self, web: Client, settings: Any) -> None:
        settings.REGISTRATION = "closed"
        assert "auth/register" not in page(web.get("/"))


class TestErrorPages:
    def test_it_shows_a_page_to_people(self, web: Client) -> None:
        assert "Nothing here" in page(web.get("/nowhere"), status=404)

    def test_it_asks_no_database_for_it(self, web: Client, django_assert_num_queries: Any) -> None:
        with django_assert_num_queries(0):
            web.get("/nowhere")

    @pytest.mark.parametrize("path", ["/api/nowhere", "/v1/nowhere"])
    def test_it_answers_json_to_programs(self, web: Client, path: str) -> None:
        answer = web.get(path)
        assert answer.status_code == 404
        assert answer.json()["errors"][0]["code"] == "not_found"

    def test_it_refuses_a_foreign_host_with_a_page(self, web: Client) -> None:
        assert "refused" in page(web.get("/", HTTP_HOST="evil.example"), status=400)


class TestAssets:
    OURS = (
        "/",
        "/accounts/",
        "/accounts/sessions/",
        "/accounts/all/",
        "/accounts/keys/",
        "/accounts/join/",
        "/nowhere",
    )
    PATHS = (*OURS, "/api/docs/", "/api/redoc/", "/api/v1/accounts/")

    @pytest.mark.parametrize("path", PATHS)
    def test_it_takes_nothing_from_elsewhere(self, web: Client, alice: Any, path: str) -> None:
        web.force_login(alice)
        text = web.get(path, headers={"Accept": "text/html"}).content.decode()
        assert "<html" in text
        assert not FOREIGN.search(text)
        assert not INLINE_SCRIPT.search(text)
        for asset in ASSET.findall(text):
            assert finders.find(asset), asset

    def test_it_keeps_the_documents_from_calling_elsewhere(self, web: Client) -> None:
        for path in ("/api/docs/", "/api/redoc/"):
            policy = web.get(path)["Content-Security-Policy"]
            assert "default-src 'self'" in policy
            assert "worker-src blob:" in policy

    def test_it_serves_the_script_of_swagger_apart(self, web: Client) -> None:
        answer = web.get("/api/docs/?script=")
        assert answer["Content-Type"].startswith("application/javascript")
        assert b"SwaggerUIBundle" in answer.content


class TestBrowsableAPI:
    def test_it_is_ours(self, web: Client, alice: Any) -> None:
        web.force_login(alice)
        text = page(web.get("/api/v1/quota-requests/", headers={"Accept": "text/html"}))
        assert "GaaS API</title>" in text
        assert "gaas.css" in text

    def test_it_asks_for_what_a_verb_takes(self, web: Client, alice: Any) -> None:
        web.force_login(alice)
        text = page(web.get("/api/v1/quota-requests/", headers={"Accept": "text/html"}))
        assert 'name="reason"' in text
        assert 'name="decided_by"' not in text
        assert "&quot;decided_by&quot;" not in text

    def test_it_asks_for_what_an_action_takes(self, web: Client, alice: Any, dana: Any) -> None:
        from accounts.services import request_quota

        asked = request_quota(account=alice.personal_account, gpu_ms=3_600_000, by=alice, reason="x")
        web.force_login(dana)
        verb = f"/api/v1/quota-requests/{asked.pk}/approve/"
        text = page(web.get(verb, headers={"Accept": "text/html"}), status=405)
        assert 'name="hours"' in text
        assert 'name="status"' not in text

    def test_it_renders_every_list(self, web: Client, dana: Any) -> None:
        document = SchemaGenerator(api_version="v1").get_schema(request=None, public=True)
        web.force_login(dana)
        for path, operations in document["paths"].items():
            if "{" not in path and not path.startswith("/api/agent/"):
                answer = web.get(path, headers={"Accept": "text/html"})
                is_fine = answer.status_code == 200 or ("get" not in operations and answer.status_code == 405)
                # What apps log in by takes their tokens alone.
                is_fine |= path.startswith("/api/v1/auth/app/") and answer.status_code in (401, 410)
                assert is_fine, (path, answer.status_code)
                assert answer["Content-Type"].startswith("text/html"), path

    def test_it_posts_a_form(self, alice: Any) -> None:
        web = Client(enforce_csrf_checks=True)
        web.force_login(alice)
        web.get("/api/v1/quota-requests/", headers={"Accept": "text/html"})
        form = {"hours": "2", "reason": "More to train", "csrfmiddlewaretoken": web.cookies["csrftoken"].value}
        answer = web.post("/api/v1/quota-requests/", form, headers={"Accept": "text/html"})
        assert answer.status_code == 201, answer.content

    def test_it_refuses_a_form_without_its_token(self, alice: Any) -> None:
        web = Client(enforce_csrf_checks=True)
        web.force_login(alice)
        assert web.post("/api/v1/quota-requests/", {"hours": "2", "reason": "x"}).status_code == 403
