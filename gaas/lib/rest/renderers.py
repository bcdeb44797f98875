"""The browsable API, with forms for what a verb takes rather than for what it answers."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import mark_safe
from rest_framework.renderers import BrowsableAPIRenderer
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer, ListSerializer

from gaas.lib.rest.idempotency import FIELD
from gaas.lib.rest.serializers import NoFields


class BrowsableAPI(BrowsableAPIRenderer):
    """Build each form from the body that `@extend_schema(request=...)` declares for the verb.

    The schema and the form are then one statement; the framework's own would ask for the fields of the
    view's answer, such as `id` and `status`.
    """

    def get_rendered_html_form(self, data: Any, view: Any, method: str, request: Request) -> Any:
        with _declared_form(view, method) as is_declared:
            form = super().get_rendered_html_form({} if is_declared else data, view, method, request)
        if method == "POST" and isinstance(form, str) and getattr(view, "takes_idempotency_key", False):
            # A button that is pressed twice sends the same key twice.
            hidden = format_html('<input type="hidden" name="{}" value="{}">', FIELD, uuid.uuid4())
            return mark_safe(form) + hidden  # noqa: S308 - the framework's own rendered form
        return form

    def get_raw_data_form(self, data: Any, view: Any, method: str, request: Request) -> Any:
        with _declared_form(view, method) as is_declared:
            return super().get_raw_data_form({} if is_declared else data, view, method, request)


@contextmanager
def _declared_form(view: Any, method: str) -> Iterator[bool]:
    """Let the view give the declared serializer for as long as its form is made."""
    declared = declared_body(view, method)
    if declared is None:
        yield False
        return

    def get_serializer(**_: Any) -> BaseSerializer[Any]:
        serializer = declared(context=view.get_serializer_context())
        # A field that need not be sent stands in no example of what to send.
        serializer._data = {key: value for key, value in serializer.get_initial().items() if value is not None}
        if method == "POST" and getattr(view, "requires_idempotency_key", False):
            serializer._data[FIELD] = str(uuid.uuid4())
        return serializer

    view.get_serializer = get_serializer
    try:
        yield True
    finally:
        del view.get_serializer


def declared_body(view: Any, method: str) -> type[BaseSerializer[Any]] | None:
    """Give the serializer class that a view's handler declares for its body; None where it declares none."""
    if method not in ("POST", "PUT", "PATCH") or not hasattr(view, "get_serializer_context"):
        return None
    name = (getattr(view, "action_map", None) or {}).get(method.lower(), method.lower())
    schema_class = getattr(getattr(view, name, None), "kwargs", {}).get("schema")
    if schema_class is None:
        return None
    schema = schema_class()
    schema.view, schema.method = view, method
    declared = schema.get_request_serializer()
    if declared is None:
        return NoFields
    if isinstance(declared, BaseSerializer) and not isinstance(declared, ListSerializer):
        declared = type(declared)
    return declared if inspect.isclass(declared) and issubclass(declared, BaseSerializer) else None
