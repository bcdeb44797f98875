from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts import services
from accounts.api.filters import QuotaRequestFilter
from accounts.api.permissions import DecidesQuotaRequests
from accounts.api.serializers import (
    QuotaRequestApproveSerializer,
    QuotaRequestCreateSerializer,
    QuotaRequestRejectSerializer,
    QuotaRequestSerializer,
)
from accounts.models import Account, QuotaRequest
from gaas.lib import clock
from gaas.lib.rest.etag import ETagMixin
from gaas.lib.rest.filters import SparseFields
from gaas.outbox.api import Idempotent

DECIDING = (IsAuthenticated, DecidesQuotaRequests)


class QuotaRequestViewSet(Idempotent, ETagMixin, SparseFields, ListModelMixin, RetrieveModelMixin, GenericViewSet):
    """Requests for more hours: the caller's own and those on accounts that the caller sees."""

    queryset = QuotaRequest.objects.none()
    key_scope = "accounts"
    serializer_class = QuotaRequestSerializer
    filterset_class = QuotaRequestFilter

    def get_queryset(self) -> Any:
        return QuotaRequest.objects.visible_to(self.request.user)

    def get_serializer_class(self) -> type:
        # An action's own stands in serializer_class; `create` shares its route with `list`.
        return QuotaRequestCreateSerializer if self.action == "create" else super().get_serializer_class()

    @extend_schema(request=QuotaRequestCreateSerializer, responses={201: QuotaRequestSerializer})
    def create(self, request: Request, version: str) -> Response:
        """Ask staff for hours on an account."""
        data = self.body()
        account = Account.objects.visible_to(request.user).named(data.get("account"), by=request.user)
        asked = services.request_quota(account=account, gpu_ms=data["hours"], by=request.user, reason=data["reason"])
        return Response(QuotaRequestSerializer(asked).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=QuotaRequestApproveSerializer, responses=QuotaRequestSerializer)
    @action(
        detail=True,
        methods=["post"],
        permission_classes=DECIDING,
        serializer_class=QuotaRequestApproveSerializer,
        key_scope="approvals:write",
    )
    def approve(self, request: Request, version: str, pk: str) -> Response:
        """Grant the hours that were asked for, or fewer."""
        asked, data = self.get_object(), self.body()
        services.approve_quota_request(
            request=asked, by=request.user, gpu_ms=data.get("hours"), reason=data["reason"], now=clock.now()
        )
        return Response(QuotaRequestSerializer(asked).data)

    @extend_schema(request=QuotaRequestRejectSerializer, responses=QuotaRequestSerializer)
    @action(
        detail=True,
        methods=["post"],
        permission_classes=DECIDING,
        serializer_class=QuotaRequestRejectSerializer,
        key_scope="approvals:write",
    )
    def reject(self, request: Request, version: str, pk: str) -> Response:
        """Say no, with a reason."""
        asked, data = self.get_object(), self.body()
        services.reject_quota_request(request=asked, by=request.user, reason=data["reason"], now=clock.now())
        return Response(QuotaRequestSerializer(asked).data)
