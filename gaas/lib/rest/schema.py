"""What the OpenAPI document says beyond what drf-spectacular reads off the code."""

from __future__ import annotations

from typing import Any

from drf_spectacular.contrib.django_filters import DjangoFilterExtension
from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import get_view_model
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

from gaas.lib.rest.fields import HoursField, StrictIntegerField, UsdField
from gaas.lib.rest.filters import HoursFilter, IntegerFilter, SparseFields, UsdFilter
from gaas.lib.rest.idempotency import HEADER

AMOUNT_PATTERN = r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?$"
UNSAFE = frozenset({"post", "put", "patch", "delete"})

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "Every refusal has this shape. The codes stand in docs/errors.md.",
    "required": ["type", "errors", "request_id"],
    "properties": {
        "type": {"type": "string", "enum": ["validation_error", "client_error", "server_error"]},
        "errors": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["code", "detail", "attr"],
                "properties": {
                    "code": {"type": "string", "description": "Stable; decide by it."},
                    "detail": {"type": "string", "description": "What is wrong, and what would succeed."},
                    "attr": {
                        "type": "string",
                        "nullable": True,
                        "description": "The field or parameter at fault, dotted when nested.",
                    },
                },
            },
        },
        "request_id": {"type": "string", "description": "As in X-Request-ID; give it when you ask for help."},
    },
}

MEANING = {
    "400": "The body, the query or what it asks for is refused; nothing was stored.",
    "401": "Nobody, or nobody known: a credential is missing, wrong or over.",
    "403": "Seen, but not allowed to this caller.",
    "404": "No such object for this caller.",
    "406": "The answer is not to be had in the media type asked for.",
    "409": "The object is in a state in which this cannot be done.",
    "410": "What this belongs to is done with.",
    "413": "The body is too large.",
    "415": "The body is in a media type or packing that is not taken.",
    "416": "No such bytes; the detail says which there are, or where to go on.",
    "422": "The Idempotency-Key stands for another call already.",
    "429": "Too many calls; Retry-After says when to come back.",
    "500": "Something broke on the server.",
    "503": "Something that this needs is away; Retry-After says when to come back.",
}
# Where an operation's own refusals stand until `declare_refusals` reads them.
OWN_REFUSALS = "x-own-refusals"


class Schema(AutoSchema):
    """Add the `fields` parameter where a view answers it, and the header by which a POST can be sent again.

    A view names in `also_refuses` the statuses that no rule of `refusals_of` finds: a log-in answers 401 though
    it asks for no credential.
    """

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        operation: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        own = getattr(self.view, "also_refuses", ())
        if operation is None:
            return None
        if own:
            operation[OWN_REFUSALS] = list(own)
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query" and parameter["name"] == "format":
                # Empty, it asks for what the Accept header says.
                parameter["schema"]["enum"] = ["", *parameter["schema"].get("enum", ())]
        return operation

    def get_override_parameters(self) -> list[Any]:
        parameters: list[Any] = super().get_override_parameters()
        if self.method == "POST" and getattr(self.view, "takes_idempotency_key", False):
            parameters.append(
                OpenApiParameter(
                    HEADER,
                    OpenApiTypes.STR,
                    OpenApiParameter.HEADER,
                    required=self.view.requires_idempotency_key,
                    pattern=r"^[\x21-\x7e]{1,128}$",
                    description="Of your own making, such as a new UUID: the same call with it again has no second "
                    "effect and gives the first answer, for a week.",
                )
            )
        return parameters

    def map_parsers(self) -> list[str]:
        """Name JSON alone: forms are for the browsable API, and a client made for all three sends all three."""
        taken: list[str] = super().map_parsers()
        return ["application/json"] if "application/json" in taken else taken

    def _get_filter_parameters(self) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super()._get_filter_parameters()
        for parameter in parameters:
            # As the empty field of a form, which asks for nothing.
            parameter["allowEmptyValue"] = True
        if self.method == "GET" and isinstance(self.view, SparseFields):
            parameters.append(
                {
                    "name": SparseFields.param,
                    "in": "query",
                    "required": False,
                    "description": "Only these fields of each object, comma-separated.",
                    "schema": {"type": "string"},
                }
            )
        return parameters


class FilterExtension(DjangoFilterExtension):
    """Describe a view's filters, also of an action that lists another model than its view."""

    target_class = "gaas.lib.rest.filters.StrictFilterBackend"
    priority = 1

    def get_schema_operation_parameters(self, auto_schema: AutoSchema, *args: Any, **kwargs: Any) -> list[Any]:
        own = getattr(auto_schema.view, "filterset_class", None)
        model = own and own._meta.model
        if model is None or model is get_view_model(auto_schema.view, emit_warnings=False):
            return super().get_schema_operation_parameters(auto_schema, *args, **kwargs)
        found: list[Any] = []
        for name, field in own.base_filters.items():
            found += self.resolve_filter_field(auto_schema, model, own, name, field)
        return found

    def resolve_filter_field(self, auto_schema: AutoSchema, model: Any, filterset: Any, name: str, field: Any) -> Any:
        parameters = super().resolve_filter_field(auto_schema, model, filterset, name, field)
        schema: dict[str, Any] | None = None
        if isinstance(field, (UsdFilter, HoursFilter)):
            schema = {"type": "string", "pattern": AMOUNT_PATTERN}
        elif isinstance(field, IntegerFilter) and field.lookup_expr not in ("in", "range", "isnull"):
            schema = {"type": "integer", "minimum": -(10**18) + 1, "maximum": 10**18 - 1}
        for parameter in parameters if schema else []:
            parameter["schema"] = schema
        return parameters


class AmountExtension(OpenApiSerializerFieldExtension):
    """Describe an exact decimal: strings both ways, and integers on the way in."""

    target_class = HoursField
    noun = "Hours"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:
        if direction == "response":
            return {
                "type": "string",
                "pattern": r"^-?[0-9]+\.[0-9]{6}$",
                "example": "2.500000",
                "description": f"{self.noun}, six places, rounded down.",
            }
        return {
            "oneOf": [
                {"type": "string", "pattern": AMOUNT_PATTERN, "example": "2.500000"},
                {"type": "integer", "minimum": 0 if self.target.allow_zero else 1, "maximum": 10**12 - 1},
            ],
            "description": f"{self.noun}: a plain decimal string of at most six places, or an integer.",
        }


class UsdExtension(AmountExtension):
    """Say dollars instead of hours."""

    target_class = UsdField
    noun = "US dollars"


class IntegerExtension(OpenApiSerializerFieldExtension):
    """Describe a bounded integer."""

    target_class = StrictIntegerField

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:
        return {
            "type": "integer",
            "format": "int64",
            "minimum": self.target.min_value,
            "maximum": self.target.max_value,
        }


def declare_refusals(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Declare on each operation every refusal that it can give, with the one error component."""
    result.setdefault("components", {}).setdefault("schemas", {})["Error"] = ERROR_SCHEMA
    for path, operations in result.get("paths", {}).items():
        for method, operation in operations.items():
            if not isinstance(operation, dict) or "responses" not in operation:
                continue
            answers = operation["responses"]
            for status in refusals_of(path, method, operation, result):
                answer = answers.setdefault(status, {})
                answer.setdefault("description", "")
                answer["description"] = answer["description"] or MEANING[status]
                answer.setdefault("content", {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}})
                _add_headers(status, answer)
            operation["responses"] = dict(sorted(answers.items()))
    return result


def refusals_of(path: str, method: str, operation: dict[str, Any], result: dict[str, Any]) -> list[str]:
    """List the statuses of refusal that an operation can answer.

    400 stands everywhere, since an unknown query parameter is one.
    """
    found = ["400", "406", "429", "500", *operation.pop(OWN_REFUSALS, ())]
    security = operation.get("security") or []
    has_body = "requestBody" in operation
    is_open = not security or {} in security
    if not is_open:
        found += ["401", "403"]
    if "{" in path or (has_body and _refers(operation, result)):
        found.append("404")
    if method in UNSAFE and ("{" in path or not is_open):
        found.append("409")
    if has_body:
        found += ["413", "415"]
    if any(parameter.get("name") == HEADER for parameter in operation.get("parameters", [])):
        found += ["409", "422"]
    return found


def _refers(operation: dict[str, Any], result: dict[str, Any]) -> bool:
    """Tell whether a body names other objects by id, such as the account that pays."""
    for media in operation["requestBody"].get("content", {}).values():
        schema = media.get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        schema = result["components"]["schemas"].get(name, schema)
        if any(field.get("format") == "uuid" for field in schema.get("properties", {}).values()):
            return True
    return False


def _add_headers(status: str, answer: dict[str, Any]) -> None:
    if status in ("429", "503"):
        answer.setdefault("headers", {})["Retry-After"] = {
            "description": "Seconds until the next call is taken.",
            "schema": {"type": "integer", "minimum": 1},
        }
    elif status == "401":
        answer.setdefault("headers", {})["WWW-Authenticate"] = {
            "description": "The scheme that is expected.",
            "schema": {"type": "string"},
        }
