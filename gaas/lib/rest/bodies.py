"""Reading the body of a request."""

from __future__ import annotations

from typing import Any

from rest_framework.serializers import BaseSerializer


class ReadsBody:
    """Give a GenericAPIView its body, read by a serializer; `Idempotent` brings this along.

    Both take the class of the serializer, else what `get_serializer_class` gives, and raise DRF's ValidationError.
    """

    def read(self: Any, serializer_class: Any = None) -> BaseSerializer:
        """Give the serializer that has read the body, for one that says more than its values."""
        kind = serializer_class or self.get_serializer_class()
        serializer: BaseSerializer = kind(data=self.request.data, context=self.get_serializer_context())
        serializer.is_valid(raise_exception=True)
        return serializer

    def body(self: Any, serializer_class: Any = None) -> dict[str, Any]:
        """Give the body's values, which are the caller's own to change."""
        return dict(self.read(serializer_class).validated_data)
