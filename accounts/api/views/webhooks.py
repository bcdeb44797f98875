"""Webhooks of the accounts that the caller manages, and what became of each event."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.api import webhook_serializers as bodies
from accounts.api.filters import DeliveryFilter, WebhookFilter
from accounts.models import Account
from accounts.services import webhooks
from gaas.lib import clock
from gaas.lib.rest.etag import ETagMixin
from gaas.lib.rest.filters import SparseFields
from gaas.lib.rest.serializers import NoFields
from gaas.lib.rest.throttles import ScopedThrottle, UserThrottle
from gaas.outbox.api import Idempotent
from gaas.outbox.models import Webhook, WebhookDelivery

NO_STORE = {"Cache-Control": "no-store"}


class _Throttled:
    """Count what calls others' machines, or asks the network for their names, besides all else."""

    throttle_scope = "webhook"

    def get_throttles(self: Any) -> list[Any]:
        if self.request.method in ("POST", "PATCH"):
            return [ScopedThrottle(), UserThrottle()]
        return [UserThrottle()]


class WebhookViewSet(
    Idempotent, _Throttled, ETagMixin, SparseFields, ListModelMixin, RetrieveModelMixin, GenericViewSet
):
    """What an account is told of, and where."""

    queryset = Webhook.objects.none()
    key_scope = "webhooks"
    lookup_value_regex = "[0-9a-f-]{36}"
    secret_answers_of = ("create", "rotate_secret")
    serializer_class = bodies.WebhookSerializer
    filterset_class = WebhookFilter

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Resolve the address that a body names before the handler, which may be inside a transaction."""
        super().initial(request, *args, **kwargs)
        if self.action in ("create", "partial_update") and isinstance(request.data, Mapping):
            url = request.data.get("url")
            if isinstance(url, str):
                webhooks.check_address(url)

    def get_queryset(self) -> Any:
        return webhooks.webhooks_seen_by(self.request.user).select_related("account")

    def get_serializer_class(self) -> type:
        own = {"create": bodies.WebhookCreateSerializer, "partial_update": bodies.WebhookChangeSerializer}
        return own.get(self.action) or super().get_serializer_class()

    @extend_schema(request=bodies.WebhookCreateSerializer, responses={201: bodies.WebhookWithSecretSerializer})
    def create(self, request: Request, version: str) -> Response:
        """Make a webhook; the answer has the secret that signs what it is sent, once."""
        data = self.body()
        account = Account.objects.visible_to(request.user).named(data.pop("account", None), by=request.user)
        made = webhooks.create_webhook(account=account, by=request.user, now=clock.now(), **data)
        return self._with_secret(*made)

    @extend_schema(request=bodies.WebhookChangeSerializer, responses=bodies.WebhookSerializer)
    def partial_update(self, request: Request, version: str, pk: str) -> Response:
        """Change where it leads or what it hears of; switch it off, or on again."""
        hook, data = self.get_object(), self.body()
        changed = webhooks.change_webhook(webhook=hook, changes=data, by=request.user, now=clock.now())
        return Response(bodies.WebhookSerializer(changed).data)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, version: str, pk: str) -> Response:
        """Remove it with its deliveries."""
        webhooks.delete_webhook(webhook=self.get_object(), by=request.user, now=clock.now())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=NoFields, responses={201: bodies.DeliverySerializer})
    @action(detail=True, methods=["post"], url_path="test", serializer_class=NoFields)
    def send_test(self, request: Request, version: str, pk: str) -> Response:
        """Send an event `ping`, tried once; read the delivery again for what came of it."""
        hook = self.get_object()
        self.body()
        made = webhooks.try_webhook(webhook=hook, by=request.user, now=clock.now())
        return Response(bodies.DeliverySerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=bodies.WebhookRotateSerializer, responses={201: bodies.WebhookWithSecretSerializer})
    @action(detail=True, methods=["post"], url_path="rotate-secret", serializer_class=bodies.WebhookRotateSerializer)
    def rotate_secret(self, request: Request, version: str, pk: str) -> Response:
        """Make a new secret; the answer has it, once. The old one signs besides for the overlap."""
        hook, body = self.get_object(), self.read()
        made = webhooks.rotate_webhook_secret(webhook=hook, overlap=body.overlap(), by=request.user, now=clock.now())
        return self._with_secret(*made)

    def _with_secret(self, hook: Webhook, secret: str) -> Response:
        shown = bodies.WebhookWithSecretSerializer(hook, context={"secret": secret}).data
        return Response(shown, status=status.HTTP_201_CREATED, headers=NO_STORE)


class DeliveryViewSet(
    Idempotent, _Throttled, ETagMixin, SparseFields, ListModelMixin, RetrieveModelMixin, GenericViewSet
):
    """What one webhook was or is to be sent, the newest first."""

    queryset = WebhookDelivery.objects.none()
    key_scope = "webhooks"
    serializer_class = bodies.DeliverySerializer
    filterset_class = DeliveryFilter

    @cached_property
    def webhook(self) -> Webhook:
        seen = webhooks.webhooks_seen_by(self.request.user).select_related("account")
        return get_object_or_404(seen, pk=self.kwargs["webhook"])

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False) or "webhook" not in self.kwargs:
            return self.queryset
        return WebhookDelivery.objects.filter(webhook=self.webhook)

    def get_serializer_class(self) -> type:
        own = {"retrieve": bodies.DeliveryDetailSerializer, "redeliver": NoFields}
        return own.get(self.action) or super().get_serializer_class()

    @extend_schema(request=NoFields, responses=bodies.DeliverySerializer)
    def redeliver(self, request: Request, version: str, webhook: str, pk: str) -> Response:
        """Send it again now, with all its attempts before it: the same id and the same body."""
        delivery = self.get_object()
        delivery.webhook = self.webhook
        self.body()
        again = webhooks.redeliver(delivery=delivery, by=request.user, now=clock.now())
        return Response(bodies.DeliverySerializer(again).data)
