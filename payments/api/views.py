"""Payments into wallets: an owner begins them, everybody in the account sees them, staff send them back."""

from __future__ import annotations

from typing import Any

from django.db.models import Prefetch
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.models import Account
from gaas.lib import clock
from gaas.lib.rest.etag import ETagMixin
from gaas.lib.rest.filters import SparseFields
from gaas.lib.rest.serializers import NoFields
from gaas.outbox.api import Idempotent
from payments import services
from payments.api.filters import PaymentFilter
from payments.api.serializers import (
    PaymentCreateSerializer,
    PaymentDetailSerializer,
    PaymentSerializer,
    RefundCreateSerializer,
    RefundSerializer,
    TransactionSerializer,
)
from payments.models import Payment, PaymentEvent


class PaymentViewSet(Idempotent, ETagMixin, SparseFields, ListModelMixin, RetrieveModelMixin, GenericViewSet):
    """Payments of the accounts that the caller belongs to."""

    queryset = Payment.objects.none()
    key_scope = "payments"
    lookup_value_regex = "[0-9a-f-]{36}"
    key_required_for = ("create", "refund")
    serializer_class = PaymentSerializer
    filterset_class = PaymentFilter

    def get_queryset(self) -> Any:
        seen = Payment.objects.visible_to(self.request.user).select_related("account", "chain")
        if self.action != "retrieve":
            return seen
        return seen.prefetch_related("refunds", Prefetch("events", PaymentEvent.objects.order_by("id")))

    def get_serializer_class(self) -> type:
        # An action's own stands in serializer_class; `create` and `retrieve` share their routes with others.
        own = {"create": PaymentCreateSerializer, "retrieve": PaymentDetailSerializer}
        return own.get(self.action) or super().get_serializer_class()

    @extend_schema(request=PaymentCreateSerializer, responses={201: PaymentSerializer})
    def create(self, request: Request, version: str) -> Response:
        """Begin a payment into a wallet. Its provider is told next: read it again for what to do."""
        data = self.body()
        payment = services.start_payment(
            account=Account.objects.visible_to(request.user).named(data.get("account"), by=request.user),
            provider=data["provider"],
            amount=data["amount_usd"],
            method=data["method"],
            by=request.user,
            now=clock.now(),
        )
        return Response(PaymentSerializer(payment).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=NoFields, responses=PaymentSerializer)
    @action(detail=True, methods=["post"], serializer_class=NoFields)
    def cancel(self, request: Request, version: str, pk: str) -> Response:
        """Give up a payment that nobody paid."""
        payment = self.get_object()
        self.body()
        cancelled = services.cancel_payment(payment=payment, by=request.user, now=clock.now())
        return Response(PaymentSerializer(cancelled).data)

    @extend_schema(request=TransactionSerializer, responses=PaymentSerializer)
    @action(detail=True, methods=["post"], serializer_class=TransactionSerializer)
    def verify(self, request: Request, version: str, pk: str) -> Response:
        """Name the transaction by which a payment on a chain was made; the chain decides."""
        payment, data = self.get_object(), self.body()
        claimed = services.claim_transaction(payment=payment, tx_hash=data["tx_hash"], by=request.user, now=clock.now())
        return Response(PaymentSerializer(claimed).data)

    @extend_schema(request=RefundCreateSerializer, responses={201: RefundSerializer})
    @action(detail=True, methods=["post"], serializer_class=RefundCreateSerializer)
    def refund(self, request: Request, version: str, pk: str) -> Response:
        """Send a payment back, whole or in part: for staff."""
        payment, data = self.get_object(), self.body()
        made = services.request_refund(
            payment_id=payment.pk,
            amount=data.get("amount_usd", payment.refundable),
            reason=data["reason"],
            by=request.user,
            now=clock.now(),
        )
        return Response(RefundSerializer(made).data, status=status.HTTP_201_CREATED)
