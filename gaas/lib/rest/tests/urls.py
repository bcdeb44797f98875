"""A small API of nothing but the kit, over Django's own tables."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission
from django.db.models import BooleanField, DateTimeField, F, Value
from django.db.models.functions import NullIf
from django.urls import include, path, re_path
from rest_framework import mixins, permissions, serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView

from gaas.lib.errors import Conflict
from gaas.lib.rest.etag import ETagMixin
from gaas.lib.rest.fields import HoursField, LabelsField, StrictBooleanField, StrictIntegerField, TextField, UsdField
from gaas.lib.rest.filters import (
    HoursFilter,
    IntegerFilter,
    MomentFilter,
    SparseFields,
    StrictBooleanFilter,
    StrictFilterSet,
    UsdFilter,
)
from gaas.lib.rest.serializers import StrictSerializer
from gaas.lib.rest.throttles import ScopedThrottle, TokenAddressThrottle, TokenThrottle
from gaas.pages import unknown_route


class Inner(StrictSerializer):
    name = TextField(max_length=10)


class Body(StrictSerializer):
    hours = HoursField(required=False)
    usd = UsdField(required=False, allow_zero=True)
    text = TextField(max_length=100, required=False)
    script = TextField(max_length=1000, lines=True, required=False)
    number = StrictIntegerField(min_value=1, max_value=8, required=False)
    flag = StrictBooleanField(required=False)
    labels = LabelsField(required=False)
    inner = Inner(required=False)
    anything = serializers.JSONField(required=False)
    status = serializers.CharField(read_only=True)


class Open(APIView):
    authentication_classes: list[Any] = []
    permission_classes = [permissions.AllowAny]
    throttle_classes: list[Any] = []


class Echo(Open):
    def post(self, request: Request, **kwargs: Any) -> Response:
        body = Body(data=request.data)
        body.is_valid(raise_exception=True)
        # Inside values and shown values: what was stored, and what a reader of it would get.
        return Response({"inside": body.validated_data, "shown": Body(body.validated_data).data})


class Big(Echo):
    max_body_bytes = 3_000_000


class Raiser(Open):
    def get(self, request: Request, **kwargs: Any) -> Response:
        if request.query_params.get("what") == "conflict":
            raise Conflict("It is over.", attr="id", headers={"Retry-After": "7"})
        raise RuntimeError("a secret of the house")


class Closed(APIView):
    throttle_classes: list[Any] = []

    def get(self, request: Request, **kwargs: Any) -> Response:
        return Response({})


class Counted(Open):
    throttle_classes = [ScopedThrottle]
    throttle_scope = "quote"

    def get(self, request: Request, **kwargs: Any) -> Response:
        return Response({})


class OtherCounted(Counted):
    throttle_scope = "refresh"


class LogIn(Open):
    throttle_classes = [TokenThrottle, TokenAddressThrottle]

    def post(self, request: Request, **kwargs: Any) -> Response:
        return Response({})


class PermissionFilters(StrictFilterSet):
    flag = StrictBooleanFilter(field_name="flag")
    since = MomentFilter(field_name="moment", lookup_expr="gte")
    most = IntegerFilter(field_name="id", lookup_expr="lte")
    usd = UsdFilter(field_name="id", lookup_expr="gte")
    hours = HoursFilter(field_name="id", lookup_expr="gte")

    class Meta:
        model = Permission
        fields = ["codename"]


class PermissionOutput(serializers.Serializer[Permission]):
    id = serializers.IntegerField()
    codename = serializers.CharField()


class PermissionViewSet(
    ETagMixin, SparseFields, mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Permission]
):
    authentication_classes: list[Any] = []
    permission_classes = [permissions.AllowAny]
    throttle_classes: list[Any] = []
    serializer_class = PermissionOutput
    filterset_class = PermissionFilters
    ordering_fields = ("id", "codename", "content_type_id", "content_type__model", "maybe")
    queryset = Permission.objects.annotate(
        flag=Value(True, output_field=BooleanField()),
        moment=Value("2026-01-01T00:00:00+00:00", output_field=DateTimeField()),
        maybe=NullIf(F("content_type_id"), Value(1)),
    )


router = SimpleRouter()
router.register("permissions", PermissionViewSet)

urlpatterns = [
    re_path(
        r"^api/(?P<version>v1)/",
        include(
            [
                path("echo/", Echo.as_view()),
                path("big/", Big.as_view()),
                path("raise/", Raiser.as_view()),
                path("closed/", Closed.as_view()),
                path("counted/", Counted.as_view()),
                path("other/", OtherCounted.as_view()),
                path("log-in/", LogIn.as_view()),
                path("", include(router.urls)),
            ]
        ),
    ),
    re_path(r"^api/", unknown_route),
]

handler404 = "gaas.pages.not_found"
handler400 = "gaas.pages.bad_request"
