from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.functional import cached_property
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import Account
from gaas.lib import clock
from gaas.lib.rest.etag import ETagMixin
from gaas.lib.rest.filters import SparseFields, whole_number
from gaas.lib.rest.serializers import StrictSerializer
from gaas.lib.rest.throttles import ScopedThrottle
from gaas.outbox.api import Idempotent
from gpus import services
from gpus.api.filters import GPUFilterSet, HostFilterSet
from gpus.api.permissions import ListsIt, RunsIt, SeesInside
from gpus.api.serializers import (
    GPUSerializer,
    HostDescriptionSerializer,
    HostSerializer,
    HostWithTokenSerializer,
    MaintenanceSerializer,
    MetricsSerializer,
    NewHostSerializer,
    OfferSerializer,
    ReasonSerializer,
    RotateSerializer,
    SecretSerializer,
)
from gpus.api.wire import JoinAnswerSerializer, JoinSerializer
from gpus.models import GPU, Host


class _Base(
    Idempotent, ETagMixin, SparseFields, mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet
):
    """Share the moment of a request, and how a verb is called: parse, one call, show the row as it is now."""

    key_scope = "gpus"

    @cached_property
    def now(self) -> Any:
        # The schema is made without a query, and so without the database's clock.
        return timezone.now() if getattr(self, "swagger_fake_view", False) else clock.now()

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "now": self.now if self.request else None}

    def show(self, pk: Any) -> Response:
        """Answer with the row read anew, whoever else changed it meanwhile."""
        return Response(self.get_serializer(self.get_queryset().get(pk=pk)).data)

    def call(self, verb: str) -> Response:
        """Call a verb of the row with the body's reason."""
        row = self.get_object()
        getattr(row, verb)(by=self.request.user, reason=self.body(ReasonSerializer)["reason"], now=self.now)
        return self.show(row.pk)


class GPUViewSet(_Base):
    """See GPUs that are offered to you and your own; set the terms of your own."""

    serializer_class = GPUSerializer
    filterset_class = GPUFilterSet
    ordering_fields = ("id", "price_per_hour", "vram_mib", "model")
    permission_classes = [IsAuthenticated, RunsIt]
    lookup_value_converter = "uuid"
    query_params: tuple[str, ...] = ()

    def get_queryset(self) -> QuerySet[GPU]:
        gpus = GPU.objects.visible_to(self.request.user).with_availability(now=self.now)
        return gpus.select_related("host__account")

    @extend_schema(request=OfferSerializer, responses=GPUSerializer)
    def partial_update(self, request: Request, **_: Any) -> Response:
        """Set price, visibility, quota or labels."""
        gpu = self.get_object()
        gpu.offer(by=request.user, now=self.now, **self.body(OfferSerializer))
        return self.show(gpu.pk)

    @extend_schema(request=ReasonSerializer, responses=GPUSerializer, operation_id="gpus_offer")
    @action(
        detail=True,
        methods=["post"],
        url_path="list",
        url_name="list-it",
        permission_classes=[IsAuthenticated, ListsIt],
    )
    def list_it(self, request: Request, **_: Any) -> Response:
        """Offer it: staff the first time, then the owner."""
        return self.call("list")

    @extend_schema(request=ReasonSerializer, responses=GPUSerializer)
    @action(detail=True, methods=["post"])
    def unlist(self, request: Request, **_: Any) -> Response:
        """Offer it to nobody; what runs goes on."""
        return self.call("unlist")

    @extend_schema(request=ReasonSerializer, responses=GPUSerializer)
    @action(detail=True, methods=["post"])
    def drain(self, request: Request, **_: Any) -> Response:
        """Give it no more work; what runs goes on."""
        return self.call("drain")

    @extend_schema(request=ReasonSerializer, responses=GPUSerializer)
    @action(detail=True, methods=["post"])
    def undrain(self, request: Request, **_: Any) -> Response:
        """Give it work again."""
        return self.call("undrain")

    @extend_schema(request=ReasonSerializer, responses=GPUSerializer)
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, **_: Any) -> Response:
        """Take it out of service."""
        return self.call("retire")

    @extend_schema(
        parameters=[OpenApiParameter("hours", OpenApiTypes.INT, description="How far back: 1 (default) to 720.")],
        responses=MetricsSerializer,
    )
    @action(
        detail=True,
        permission_classes=[IsAuthenticated, SeesInside],
        filterset_class=None,
        pagination_class=None,
        query_params=("hours",),
    )
    def metrics(self, request: Request, **_: Any) -> Response:
        """Show what was measured last, and in the hours before: up to 500 samples, coarser the longer the time."""
        gpu, hours = self.get_object(), whole_number(request.query_params, "hours", default=1, least=1, most=720)
        found = services.read_samples(gpus=[gpu.pk], since=self.now - timedelta(hours=hours), until=self.now)
        return Response(self.sparse(MetricsSerializer({**gpu.metrics, "samples": found.get(gpu.pk, [])})).data)


class HostViewSet(_Base):
    """Add machines with GPUs, and run them."""

    serializer_class = HostSerializer
    filterset_class = HostFilterSet
    ordering_fields = ("id", "reliability")
    secret_answers_of = ("create", "join_token", "rotate_secret")
    permission_classes = [IsAuthenticated, RunsIt]
    lookup_value_converter = "uuid"

    def get_queryset(self) -> QuerySet[Host]:
        return Host.objects.visible_to(self.request.user).select_related("account")

    @extend_schema(request=NewHostSerializer, responses={201: HostWithTokenSerializer})
    def create(self, request: Request, **_: Any) -> Response:
        """Add a host; the answer has the token that its agent joins by, once."""
        data = self.body(NewHostSerializer)
        account = self._account(data.pop("account", None))
        host, token = services.register_host(account=account, by=request.user, now=self.now, **data)
        return self._with_token(host, token, status.HTTP_201_CREATED)

    @extend_schema(request=HostDescriptionSerializer, responses=HostSerializer)
    def partial_update(self, request: Request, **_: Any) -> Response:
        """Set name, region or labels."""
        host = self.get_object()
        host.describe(by=request.user, now=self.now, **self.body(HostDescriptionSerializer))
        return self.show(host.pk)

    @extend_schema(request=ReasonSerializer, responses=HostSerializer)
    @action(detail=True, methods=["post"])
    def drain(self, request: Request, **_: Any) -> Response:
        """Give it no more work; what runs goes on."""
        return self.call("drain")

    @extend_schema(request=ReasonSerializer, responses=HostSerializer)
    @action(detail=True, methods=["post"])
    def undrain(self, request: Request, **_: Any) -> Response:
        """Give it work again, after drain or maintenance."""
        return self.call("undrain")

    @extend_schema(request=MaintenanceSerializer, responses=HostSerializer)
    @action(detail=True, methods=["post"])
    def maintenance(self, request: Request, **_: Any) -> Response:
        """Announce that it will be away, now or later; it gets nothing that would run into it."""
        host = self.get_object()
        host.maintenance(by=request.user, now=self.now, **self.body(MaintenanceSerializer))
        return self.show(host.pk)

    @extend_schema(request=ReasonSerializer, responses=HostSerializer)
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, **_: Any) -> Response:
        """Believe it nothing any more, at once and for good."""
        return self.call("revoke")

    @extend_schema(request=None, responses=HostWithTokenSerializer)
    @action(detail=True, methods=["post"], url_path="join-token")
    def join_token(self, request: Request, **_: Any) -> Response:
        """Give a new join token, once; one that was not used is void."""
        self.body(StrictSerializer)
        host = self.get_object()
        return self._with_token(host, host.reissue_join_token(by=request.user, now=self.now), status.HTTP_200_OK)

    @extend_schema(request=RotateSerializer, responses=SecretSerializer)
    @action(detail=True, methods=["post"], url_path="rotate-secret")
    def rotate_secret(self, request: Request, **_: Any) -> Response:
        """Give a new secret, once; the one before is refused from now on, or after `overlap_seconds`."""
        overlap = self.body(RotateSerializer)
        return Response({"secret": self.get_object().rotate_secret(by=request.user, now=self.now, **overlap)})

    def _account(self, asked: Any) -> Account:
        user: Any = self.request.user
        if asked is None and user.bound_to is None:
            return user.personal_account
        account: Account = Account.objects.visible_to(user).named(asked, by=user)
        if not Host(account=account).may_be_run_by(user):
            raise PermissionDenied(RunsIt.message)
        return account

    def _with_token(self, host: Host, token: str, code: int) -> Response:
        context = {**self.get_serializer_context(), "join_token": token}
        return Response(HostWithTokenSerializer(host, context=context).data, status=code)


class JoinView(APIView):
    """Exchange a join token for a host's secret."""

    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]
    throttle_classes = [ScopedThrottle]
    throttle_scope = "join"

    @extend_schema(request=JoinSerializer, responses=JoinAnswerSerializer, tags=["agent"])
    def post(self, request: Request, **_: Any) -> Response:
        body = JoinSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        host, secret = services.join(**body.validated_data, now=clock.now())
        return Response({"host_id": str(host.pk), "secret": secret})
