from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from rest_framework.test import APIClient

OPEN = ("/api/v1/auth/", "/api/agent/v1/join", "/api/v1/webhooks/stripe/")
METHODS = ("get", "post", "put", "patch", "delete")


def at(path: str, id_: str = "00000000-0000-7000-8000-000000000000") -> str:
    """Fill the ids into a path of the document."""
    return re.sub(r"\{\w+\}", id_, path)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return dict(SchemaGenerator(api_version="v1").get_schema(request=None, public=True))


class TestDocument:
    def test_it_is_valid(self, document: dict[str, Any]) -> None:
        validate_schema(document)
        assert len(document["paths"]) > 20

    def test_it_leaves_nothing_to_guess(self, document: dict[str, Any]) -> None:
        assert not GENERATOR_STATS._error_cache
        assert not GENERATOR_STATS._warn_cache

    def test_it_is_served_in_both_forms(self) -> None:
        assert b"openapi: 3" in Client().get("/api/schema/").content
        answer = Client().get("/api/schema/", headers={"Accept": "application/vnd.oai.openapi+json"})
        assert answer.json()["info"]["title"] == "GaaS"

    @pytest.mark.django_db
    def test_it_is_made_without_a_query(self, django_assert_num_queries: Any) -> None:
        """Tools and tests make it where no database answers yet; a query that is refused there goes unseen."""
        with django_assert_num_queries(0):
            SchemaGenerator(api_version="v1").get_schema(request=None, public=True)

    def test_it_declares_refusals_on_each_operation(self, document: dict[str, Any]) -> None:
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                answers = operation["responses"]
                assert {"400", "429", "500"} <= set(answers), (path, method)
                if "{" in path:
                    assert "404" in answers, (path, method)
                if "requestBody" in operation:
                    assert {"413", "415"} <= set(answers), (path, method)
                if not path.startswith(OPEN):
                    assert {"401", "403"} <= set(answers), (path, method)


@pytest.mark.django_db
class TestEveryPath:
    @pytest.mark.parametrize(
        "credential",
        [
            None,
            "Bearer x",
            "Bearer ",
            "Bearer eyJhbGciOiJub25lIn0.e30.",
            "Host x",
            "Host gaash_x",
            "Bearer " + "x" * 20_000,
        ],
    )
    def test_it_asks_who_is_there(self, document: dict[str, Any], credential: str | None) -> None:
        headers = {"Authorization": credential} if credential else {}
        for path, operations in document["paths"].items():
            if path.startswith(OPEN):
                continue
            url = at(path)
            for method in set(operations) & set(METHODS):
                answer = getattr(APIClient(headers=headers), method)(url, {}, format="json")
                assert answer.status_code == 401, (method, path, answer.content)
                assert answer["WWW-Authenticate"]
                assert set(answer.json()) == {"type", "errors", "request_id"}

    @pytest.mark.parametrize(
        "body", ["[]", "1", "null", "{", "[" * 100_000, '{"a":' * 100_000, '{"\\u0000": 1}', "\ud800"]
    )
    def test_it_breaks_by_no_body(self, document: dict[str, Any], api: Any, alice: Any, body: str) -> None:
        client = api(alice)
        client.raise_request_exception = False
        for path, operations in document["paths"].items():
            url = at(path)
            for method in set(operations) & {"post", "put", "patch"}:
                answer = client.generic(
                    method.upper(), url, body.encode("utf-8", "surrogatepass"), content_type="application/json"
                )
                assert 400 <= answer.status_code < 500, (method, path, answer.content)

    @pytest.mark.parametrize(
        "query", ["no_such=1", "q=%00", "cursor=x", "page_size=0", "ordering=password", "format=xml"]
    )
    def test_it_breaks_by_no_query(self, document: dict[str, Any], api: Any, dana: Any, query: str) -> None:
        client = api(dana)
        client.raise_request_exception = False
        for path, operations in document["paths"].items():
            if "get" in operations:
                answer = client.get(f"{at(path)}?{query}")
                is_list = any(p["name"] == "cursor" for p in operations["get"].get("parameters", ()))
                assert answer.status_code < 500, (path, answer.content)
                assert not is_list or answer.status_code in {400, 404}, (path, answer.content)

    @pytest.mark.parametrize(
        "bad", ["x", "%00", "0", "9" * 400, "%F0%9F%98%80", "..%2f..", "00000000-0000-7000-8000-00000000000g"]
    )
    def test_it_answers_a_bad_id_as_an_unknown_one(
        self, document: dict[str, Any], api: Any, dana: Any, bad: str
    ) -> None:
        client = api(dana)
        client.raise_request_exception = False
        for path, operations in document["paths"].items():
            for method in set(operations) & set(METHODS) if "{" in path else ():
                answer = getattr(client, method)(at(path, bad), {}, format="json")
                assert answer.status_code == 404, (method, path, answer.content)

    def test_it_describes_itself_on_options(self, document: dict[str, Any], api: Any, dana: Any) -> None:
        client = api(dana)
        client.raise_request_exception = False
        for path in document["paths"]:
            answer = client.options(at(path))
            assert answer.status_code in {200, 404} or path.startswith("/api/agent/"), (path, answer.content)
