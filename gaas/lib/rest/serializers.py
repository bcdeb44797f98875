"""Serializers that name what they do not know instead of dropping it in silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.utils import html

from gaas.lib.rest.idempotency import FIELD

# What the browsable API's own forms send beside the fields.
FRAMEWORK = frozenset({"csrfmiddlewaretoken", "_content", "_content_type", FIELD})

MOST_NAMED = 20


class RefuseUnknown:
    """Refuse each key of a body that is no writable field, by its name.

    A field that callers only read (`status`, `owner`) counts as unknown when it is sent: whoever sends
    it expects it to do something.
    """

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return super().to_internal_value(data)  # type: ignore[misc]
        problems: dict[str, Any] = {}
        values: Any = None
        try:
            values = super().to_internal_value(data)  # type: ignore[misc]
        except serializers.ValidationError as error:
            problems = dict(error.detail) if isinstance(error.detail, dict) else {"non_field_errors": error.detail}
        for name in self._unknown(data)[:MOST_NAMED]:
            detail = "No such field here. Leave it out."
            if name in self.fields:  # type: ignore[attr-defined]
                detail = "This field cannot be set here. Leave it out."
            problems[name[:100]] = [serializers.ErrorDetail(detail, code="unknown_field")]
        if problems:
            raise serializers.ValidationError(problems)
        return values

    def _unknown(self, data: Mapping[str, Any]) -> list[str]:
        writable = {name for name, field in self.fields.items() if not field.read_only}  # type: ignore[attr-defined]
        if html.is_html_input(data):
            # A form writes nested values as `spec.command` and `gpus[0]`.
            return [key for key in data if key.split(".")[0].split("[")[0] not in writable | FRAMEWORK]
        return [key for key in data if key not in writable and key not in FRAMEWORK]


class StrictSerializer(RefuseUnknown, serializers.Serializer):
    """Read and write a flat or nested body, refusing unknown fields with code `unknown_field`."""


class NoFields(StrictSerializer):
    """Take a body that says nothing: none at all, or an empty object."""
