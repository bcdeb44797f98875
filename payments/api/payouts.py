"""Earnings on their way out: an owner says where to and how much, staff agree, everybody in the account sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import Prefetch
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.choices import Role
from accounts.models import Account
from gaas.lib import clock
from gaas.lib.errors import NotFound
from gaas.lib.rest.etag import ETagMixin
from gaas.lib.rest.filters import SparseFields
from gaas.lib.rest.serializers import NoFields
from gaas.outbox.api import Idempotent
from payments import services
from payments.api.filters import PayoutDestinationFilter, PayoutFilter
from payments.api.payout_serializers import (
    DestinationCreateSerializer,
    DestinationSerializer,
    PayoutCreateSerializer,
    PayoutDetailSerializer,
    PayoutRejectSerializer,
    PayoutSerializer,
)
from payments.models import Payout, PayoutDestination, PayoutEvent


def named_destination(user: Any, pk: Any, attr: str) -> PayoutDestination:
    """Give the destination that a body names, the same NotFound for one that is another's and one that is nowhere."""
    seen = PayoutDestination.objects.visible_to(user).select_related("account").filter(pk=pk).first()
    if seen is None:
        raise NotFound("No such destination, or not one that you see.", attr=attr)
    return seen


class PayoutViewSet(Idempotent, ETagMixin, SparseFields, ListModelMixin, RetrieveModelMixin, GenericViewSet):
    """Payouts of the accounts that the caller belongs to."""

    queryset = Payout.objects.none()
    key_scope = "payments"
    lookup_value_regex = "[0-9a-f-]{36}"
    key_required_for = ("create",)
    serializer_class = PayoutSerializer
    filterset_class = PayoutFilter

    def get_queryset(self) -> Any:
        seen = Payout.objects.visible_to(self.request.user).select_related("account", "destination")
        if self.action != "retrieve":
            return seen
        return seen.prefetch_related(Prefetch("events", PayoutEvent.objects.order_by("id")))

    def get_serializer_class(self) -> type:
        own = {"create": PayoutCreateSerializer, "retrieve": PayoutDetailSerializer}
        return own.get(self.action) or super().get_serializer_class()

    @extend_schema(request=PayoutCreateSerializer, responses={201: PayoutSerializer})
    def create(self, request: Request, version: str) -> Response:
        """Ask for a payout of earnings. It is sent once staff agreed."""
        data = self.body()
        payout = services.request_payout(
            destination=named_destination(request.user, data["destination"], "destination"),
            amount=data["amount_usd"],
            by=request.user,
            now=clock.now(),
        )
        return Response(PayoutSerializer(payout).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=NoFields, responses=PayoutSerializer)
    @action(detail=True, methods=["post"], serializer_class=NoFields)
    def cancel(self, request: Request, version: str, pk: str) -> Response:
        """Take a payout back that was not sent yet."""
        payout = self.get_object()
        self.body()
        return self._shown(services.cancel_payout(payout=payout, by=request.user, now=clock.now()))

    @extend_schema(request=NoFields, responses=PayoutSerializer)
    @action(detail=True, methods=["post"], serializer_class=NoFields)
    def approve(self, request: Request, version: str, pk: str) -> Response:
        """Agree to a payout: for staff, and never for who asked for it."""
        payout = self.get_object()
        self.body()
        return self._shown(services.approve_payout(payout=payout, by=request.user, now=clock.now()))

    @extend_schema(request=PayoutRejectSerializer, responses=PayoutSerializer)
    @action(detail=True, methods=["post"], serializer_class=PayoutRejectSerializer)
    def reject(self, request: Request, version: str, pk: str) -> Response:
        """Say no to a payout: for staff."""
        payout, data = self.get_object(), self.body()
        rejected = services.reject_payout(payout=payout, by=request.user, reason=data["reason"], now=clock.now())
        return self._shown(rejected)

    def _shown(self, payout: Payout) -> Response:
        return Response(PayoutSerializer(payout).data)


class PayoutDestinationViewSet(Idempotent, ETagMixin, SparseFields, ListModelMixin, RetrieveModelMixin, GenericViewSet):
    """Where earnings of the caller's accounts may be sent. A change is a new one, which replaces the old.

    To say where money goes is for a person who logged in, so it names no `key_scope`.
    """

    queryset = PayoutDestination.objects.none()
    lookup_value_regex = "[0-9a-f-]{36}"
    serializer_class = DestinationSerializer
    filterset_class = PayoutDestinationFilter

    def get_queryset(self) -> Any:
        return PayoutDestination.objects.visible_to(self.request.user).select_related("account")

    def get_serializer_class(self) -> type:
        return DestinationCreateSerializer if self.action == "create" else super().get_serializer_class()

    def get_serializer_context(self) -> dict[str, Any]:
        context = super().get_serializer_context()
        return {**context, "shown_whole": self._shown_whole()} if self.request else context

    @extend_schema(request=DestinationCreateSerializer, responses={201: DestinationSerializer})
    def create(self, request: Request, version: str) -> Response:
        """Add a destination, usable after a while; owners of the account are written to."""
        data = self.body()
        replaced = data.get("replaces")
        made = services.add_destination(
            account=Account.objects.visible_to(request.user).named(data.get("account"), by=request.user),
            kind=data["kind"],
            detail=data["detail"],
            label=data["label"],
            replaces=named_destination(request.user, replaced, "replaces") if replaced else None,
            by=request.user,
            now=clock.now(),
        )
        return self._shown(made, status.HTTP_201_CREATED)

    @extend_schema(request=NoFields, responses=DestinationSerializer)
    @action(detail=True, methods=["post"], serializer_class=NoFields)
    def retire(self, request: Request, version: str, pk: str) -> Response:
        """Take a destination out of use; what was not sent there yet will not be."""
        destination = self.get_object()
        self.body()
        return self._shown(services.retire_destination(destination=destination, by=request.user, now=clock.now()))

    def _shown(self, destination: PayoutDestination, code: int = status.HTTP_200_OK) -> Response:
        shown = DestinationSerializer(destination, context={"shown_whole": self._shown_whole()})
        return Response(shown.data, status=code)

    def _shown_whole(self) -> Callable[[PayoutDestination], bool]:
        """Give what tells whether the caller needs to see a destination whole, in at most one query for a list."""
        user = self.request.user
        if user.has_perm("payments.decide_payout") or user.has_perm("payments.send_payout"):
            return lambda destination: True
        roles = dict(user.memberships.values_list("account_id", "role")) if user.is_authenticated else {}
        return lambda destination: destination.account.role_among(roles) == Role.OWNER
