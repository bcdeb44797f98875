from __future__ import annotations

from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from gaas.lib.rest.schema import OWN_REFUSALS, declare_refusals, refusals_of


@pytest.fixture
def document() -> dict[str, Any]:
    generator = SchemaGenerator(urlconf="gaas.lib.rest.tests.urls", api_version="v1")
    found = generator.get_schema(request=None, public=True)
    validate_schema(found)
    return found


class TestDocument:
    def test_it_declares_refusals_with_the_one_component(self, document: dict[str, Any]) -> None:
        answers = document["paths"]["/api/v1/permissions/{id}/"]["get"]["responses"]
        assert set(answers) == {"200", "400", "404", "406", "429", "500"}
        for status, answer in answers.items():
            if status != "200":
                assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}
        assert "Retry-After" in answers["429"]["headers"]

    def test_it_lists_filters_pages_and_fields(self, document: dict[str, Any]) -> None:
        parameters = {p["name"]: p["schema"] for p in document["paths"]["/api/v1/permissions/"]["get"]["parameters"]}
        assert set(parameters) == {
            "codename", "cursor", "fields", "flag", "hours", "most", "ordering", "page_size", "since", "usd",
        }  # fmt: skip
        assert parameters["page_size"] == {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}
        assert parameters["usd"]["pattern"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("path", "method", "operation", "extra"),
        [
            ("/api/v1/x/", "get", {}, set()),
            ("/api/v1/x/", "get", {"security": [{"token": []}]}, {"401", "403"}),
            ("/api/v1/x/{id}/", "get", {"security": [{"token": []}]}, {"401", "403", "404"}),
            ("/api/v1/x/{id}/go/", "post", {"security": [{"token": []}]}, {"401", "403", "404", "409"}),
            ("/api/v1/x/", "post", {"requestBody": {}}, {"413", "415"}),
            ("/api/v1/x/", "post", {OWN_REFUSALS: ["401", "503"]}, {"401", "503"}),
        ],
    )
    def test_it_says_what_fits(self, path: str, method: str, operation: dict[str, Any], extra: set[str]) -> None:
        assert set(refusals_of(path, method, operation, {})) == {"400", "406", "429", "500"} | extra

    def test_it_says_404_where_a_body_names_another_object(self) -> None:
        schema = {"type": "object", "properties": {"account": {"type": "string", "format": "uuid"}}}
        operation = {
            "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}}
        }
        assert "404" in refusals_of("/api/v1/x/", "post", operation, {"components": {"schemas": {"Body": schema}}})

    def test_it_keeps_what_a_view_declares(self) -> None:
        own = {"description": "Own words.", "content": {"application/json": {"schema": {"type": "object"}}}}
        result = {"paths": {"/x/": {"get": {"responses": {"429": dict(own)}}}}}
        declared = declare_refusals(result, None, None, True)["paths"]["/x/"]["get"]["responses"]["429"]
        assert declared["description"] == "Own words."
        assert declared["content"] == own["content"]
