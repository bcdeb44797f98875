from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.api.key_serializers import (
    KeyCreateSerializer,
    KeyRevokeSerializer,
    KeyRotateSerializer,
    KeySerializer,
    KeyWithSecretSerializer,
)
from accounts.models import Account, ApiKey
from accounts.services import keys
from gaas.lib import clock
from gaas.lib.rest.etag import ETagMixin
from gaas.lib.rest.filters import SparseFields
from gaas.outbox.api import Idempotent

NO_STORE = {"Cache-Control": "no-store"}


class ApiKeyViewSet(Idempotent, ETagMixin, SparseFields, GenericViewSet):
    """The caller's API keys. A key makes no keys: this takes a log-in, so it names no `key_scope`."""

    queryset = ApiKey.objects.none()
    serializer_class = KeySerializer
    lookup_value_converter = "uuid"
    secret_answers_of = ("create", "rotate")

    def get_queryset(self) -> Any:
        return ApiKey.objects.visible_to(self.request.user).select_related("user", "account")

    def get_serializer_class(self) -> type:
        return KeyCreateSerializer if self.action == "create" else super().get_serializer_class()

    @extend_schema(responses=KeySerializer(many=True))
    def list(self, request: Request, version: str) -> Response:
        """List your keys, the newest first, without their secrets."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        return self.get_paginated_response(self._shown(page))

    @extend_schema(responses=KeySerializer)
    def retrieve(self, request: Request, version: str, pk: str) -> Response:
        """Show one key without its secret."""
        return Response(self._shown([self.get_object()])[0])

    @extend_schema(request=KeyCreateSerializer, responses={201: KeyWithSecretSerializer})
    def create(self, request: Request, version: str) -> Response:
        """Make a key; the answer has its secret, once."""
        data = self.body(KeyCreateSerializer)
        if data.get("account") is not None:
            data["account"] = Account.objects.of_member(request.user).named(data["account"])
        given = {name: value for name, value in data.items() if value is not None}
        key, text = keys.create_key(user=request.user, now=clock.now(), **given)
        return self._with_secret(key, text)

    @extend_schema(request=KeyRotateSerializer, responses={201: KeyWithSecretSerializer})
    @action(detail=True, methods=["post"], serializer_class=KeyRotateSerializer)
    def rotate(self, request: Request, version: str, pk: str) -> Response:
        """Make a successor with the same terms; the answer has its secret, once. The old one ends after the overlap."""
        key, overlap = self.get_object(), self.read(KeyRotateSerializer).overlap()
        successor, text = keys.rotate_key(key=key, by=request.user, overlap=overlap, now=clock.now())
        return self._with_secret(successor, text)

    @extend_schema(request=KeyRevokeSerializer, responses=KeySerializer)
    @action(detail=True, methods=["post"], serializer_class=KeyRevokeSerializer)
    def revoke(self, request: Request, version: str, pk: str) -> Response:
        """Refuse the key from now on."""
        key = self.get_object()
        key.revoke(by=request.user, now=clock.now(), **self.body(KeyRevokeSerializer))
        return Response(self._shown([key])[0])

    def _shown(self, rows: Sequence[ApiKey], shape: type = KeySerializer, **more: Any) -> Any:
        now = clock.now()
        used = keys.used_through(rows, now=now)
        for key in rows:
            vars(key)["used"] = used[key.pk]
        context = {**self.get_serializer_context(), "now": now, **more}
        return self.sparse(shape(rows, many=True, context=context)).data

    def _with_secret(self, key: ApiKey, text: str) -> Response:
        shown = self._shown([key], KeyWithSecretSerializer, secret=text)[0]
        return Response(shown, status=status.HTTP_201_CREATED, headers=NO_STORE)
