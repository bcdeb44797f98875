from __future__ import annotations

from typing import Any

import pytest


def only_error(answer: Any, status: int) -> dict[str, Any]:
    body = answer.json()
    assert answer.status_code == status, body
    assert answer["Content-Type"] == "application/json"
    assert set(body) == {"type", "errors", "request_id"}
    assert body["request_id"] == answer["X-Request-ID"]
    (found,) = body["errors"]
    assert set(found) == {"code", "detail", "attr"}
    return {"type": body["type"], **found}


class TestErrorShape:
    def test_it_carries_a_refusal_of_the_domain(self, client: Any) -> None:
        answer = client.get("/api/v1/raise/?what=conflict")
        assert only_error(answer, 409) == {
            "type": "client_error",
            "code": "wrong_state",
            "detail": "It is over.",
            "attr": "id",
        }
        assert answer["Retry-After"] == "7"

    @pytest.mark.parametrize("debug", [False, True])
    def test_it_hides_what_broke(self, client: Any, settings: Any, debug: bool) -> None:
        settings.DEBUG = debug
        answer = client.get("/api/v1/raise/")
        found = only_error(answer, 500)
        assert (found["type"], found["code"]) == ("server_error", "server_error")
        assert b"secret" not in answer.content

    def test_it_asks_who_is_there(self, client: Any) -> None:
        answer = client.get("/api/v1/closed/")
        assert only_error(answer, 401)["code"] == "not_authenticated"
        assert answer["WWW-Authenticate"].startswith("Bearer")

    @pytest.mark.parametrize("debug", [False, True])
    @pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "options"])
    @pytest.mark.parametrize("path", ["/api/", "/api/v1/nowhere/", "/api/v2/echo/", "/api/v1/echo/x", "/api/v1/%00/"])
    def test_it_answers_an_unknown_path(self, client: Any, settings: Any, path: str, method: str, debug: bool) -> None:
        settings.DEBUG = debug
        assert only_error(getattr(client, method)(path), 404)["code"] == "not_found"

    def test_it_refuses_a_method(self, client: Any) -> None:
        assert only_error(client.delete("/api/v1/echo/"), 405)["code"] == "method_not_allowed"

    @pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
    def test_it_ignores_override_headers(self, client: Any, name: str) -> None:
        answer = client.post("/api/v1/raise/", headers={name: "GET"})
        assert answer.status_code == 405
        assert client.post("/api/v1/raise/?_method=GET", {"_method": "GET"}).status_code == 405

    def test_it_refuses_a_foreign_host(self, client: Any) -> None:
        assert only_error(client.get("/api/v1/raise/", HTTP_HOST="evil.example"), 400)["code"] == "bad_request"

    @pytest.mark.django_db
    @pytest.mark.parametrize("pk", ["%00", "x", "1e5", "9" * 400, "-1", "%F0%9F%98%80", "..%2f"])
    def test_it_answers_a_bad_id_as_an_unknown_one(self, client: Any, pk: str) -> None:
        assert only_error(client.get(f"/api/v1/permissions/{pk}/"), 404)["code"] == "not_found"

    @pytest.mark.parametrize("method", ["head", "options"])
    def test_it_answers_head_and_options(self, client: Any, method: str) -> None:
        answer = getattr(client, method)("/api/v1/counted/")
        assert answer.status_code == 200
        assert answer["X-Request-ID"]
