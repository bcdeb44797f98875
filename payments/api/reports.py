"""Usage reports, as JSON and as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.http import HttpResponseBase, StreamingHttpResponse
from django.utils.dateparse import parse_datetime
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Account
from accounts.periods import period_of
from gaas.lib import clock, csv_cells
from gaas.lib.amounts import show_hours, show_micro
from gaas.lib.errors import NotFound
from gaas.lib.rest.fields import HoursField, TextField, UsdField
from gaas.lib.rest.filters import StrictQuery
from gaas.lib.rest.renderers import BrowsableAPI
from payments.querysets import USAGE_COLUMNS
from payments.services.reports import NARROWED, UsageAsked, usage_rows, usage_totals

# Rows of an answer in JSON; a CSV has all.
MOST = 1_000
NAMES = {"account": "account_name", "subtree": "subtree_name", "user": "user_name", "gpu": "gpu_model"}
FIGURES = ("tasks", "gpu_ms", "hours_charged", "quota_gpu_ms", "quota_hours")
FIGURES += ("reserved_gpu_ms", "reserved_hours", "cost_microusd", "cost_usd")


class CSVRenderer(BaseRenderer):
    """Let `?format=csv` and `Accept: text/csv` be asked for; the view streams the answer itself."""

    media_type = "text/csv"
    format = "csv"
    charset = "utf-8"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        """Write a refusal, which is no table, as JSON."""
        return JSONRenderer().render(data)


class GroupsField(serializers.Field):
    """Read names of groups, comma-separated."""

    default_error_messages = {"invalid": "Give one to four of {known}, comma-separated, each once."}

    def to_internal_value(self, data: Any) -> tuple[str, ...]:
        names = tuple(name.strip() for name in str(data).split(","))
        if not set(names) <= set(USAGE_COLUMNS) or len(set(names)) != len(names) or len(names) > 4:
            self.fail("invalid", known=", ".join(USAGE_COLUMNS))
        return names


class MomentField(serializers.Field):
    """Read an ISO 8601 moment or day; without a zone it is UTC."""

    default_error_messages = {"invalid": "Give a day such as 2026-10-01, or a moment such as 2026-10-01T12:00Z."}

    def to_internal_value(self, data: Any) -> datetime:
        try:
            moment = parse_datetime(str(data).strip())
            if moment is None:
                raise ValueError("no moment")
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
            # The month after it, and the one it is in, have to be moments too.
            if not 1 < moment.year < 9999:
                raise ValueError("far from any use")
            return moment
        except (ValueError, OverflowError):
            self.fail("invalid")


class UsageQuerySerializer(serializers.Serializer):
    """Read the query; an empty cost code asks for what has none."""

    group_by = GroupsField(required=False)
    begin = MomentField(required=False, source="begin")
    end = MomentField(required=False, source="end")
    account = serializers.UUIDField(required=False)
    user = serializers.UUIDField(required=False)
    gpu = serializers.UUIDField(required=False)
    kind = TextField(max_length=20, required=False)
    cost_code = TextField(max_length=64, required=False, allow_blank=True)
    funding = TextField(max_length=10, required=False)

    def get_fields(self) -> dict[str, Any]:
        # `from` is no name that Python lets a class have.
        renamed = {"begin": "from", "end": "to"}
        return {renamed.get(name, name): declared for name, declared in super().get_fields().items()}

    def validate_user(self, value: Any) -> str:
        return str(value)


class UsageFiguresSerializer(serializers.Serializer):
    """Show sums; `hours_charged` are all hours that were charged, of which `quota_hours` came off hours.

    `reserved_hours` of them came off contracts, whose price was paid by the period.
    """

    tasks = serializers.IntegerField(source="task_count")
    gpu_ms = serializers.IntegerField(source="ms")
    hours_charged = HoursField(source="ms")
    quota_gpu_ms = serializers.IntegerField(source="quota_ms")
    quota_hours = HoursField(source="quota_ms")
    reserved_gpu_ms = serializers.IntegerField(source="reserved_ms")
    reserved_hours = HoursField(source="reserved_ms")
    cost_microusd = serializers.IntegerField(source="paid")
    cost_usd = UsdField(source="paid")


class UsageRowSerializer(UsageFiguresSerializer):
    """Show one group: what it is grouped by, with names, and its sums."""

    account = serializers.UUIDField(required=False)
    account_name = serializers.CharField(required=False)
    subtree = serializers.UUIDField(required=False)
    subtree_name = serializers.CharField(required=False)
    user = serializers.UUIDField(required=False)
    user_name = serializers.CharField(required=False)
    gpu = serializers.UUIDField(required=False)
    gpu_model = serializers.CharField(required=False)
    kind = serializers.CharField(required=False)
    cost_code = serializers.CharField(required=False)
    funding = serializers.CharField(required=False)
    month = serializers.CharField(required=False)


class UsageReportSerializer(serializers.Serializer):
    begin = serializers.DateTimeField()
    end = serializers.DateTimeField()
    group_by = serializers.ListField(child=serializers.ChoiceField(choices=list(USAGE_COLUMNS)))
    totals = UsageFiguresSerializer()
    is_complete = serializers.BooleanField(help_text="False where more rows are there; a CSV has all.")
    results = UsageRowSerializer(many=True)

    def get_fields(self) -> dict[str, Any]:
        renamed = {"begin": "from", "end": "to"}
        return {renamed.get(name, name): declared for name, declared in super().get_fields().items()}


def _parameter(name: str, told: str, kind: Any = OpenApiTypes.STR) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=told)


PARAMETERS = [
    _parameter("group_by", f"One to four of {', '.join(USAGE_COLUMNS)}, comma-separated; account,month by default."),
    _parameter("from", "The first moment, or day in UTC; the first of this month by default."),
    _parameter(
        "to", "The first moment or day that is not meant; the end of that month by default.", OpenApiTypes.DATETIME
    ),
    _parameter("account", "This account and all below it.", OpenApiTypes.UUID),
    _parameter("user", "Whose tasks.", OpenApiTypes.UUID),
    _parameter("gpu", "On which GPU.", OpenApiTypes.UUID),
    _parameter("kind", "Of which kind of task."),
    _parameter("cost_code", "Under which cost code; empty, under none."),
    _parameter("funding", "Paid from what, such as quota or wallet."),
]


class UsageReportView(StrictQuery, GenericAPIView):
    """What was used and what it cost: by whom, on what, for which account."""

    key_scope = "payments"
    serializer_class = UsageReportSerializer
    renderer_classes = (JSONRenderer, BrowsableAPI, CSVRenderer)
    filter_backends = ()
    pagination_class = None
    query_params = tuple(parameter.name for parameter in PARAMETERS)
    also_refuses = ("404",)

    @extend_schema(operation_id="reports_usage", parameters=PARAMETERS, responses=UsageReportSerializer)
    def get(self, request: Request, version: str) -> HttpResponseBase:
        """Add up charges: of accounts that the caller manages and all below them, and of the caller's own tasks."""
        asked = self._asked()
        if request.accepted_renderer.format == "csv":
            return _csv(asked, request.user)
        totals = usage_totals(asked, by=request.user)
        rows = list(usage_rows(asked, by=request.user, most=MOST + 1))
        report = {
            "from": asked.begin,
            "to": asked.end,
            "group_by": list(asked.group_by),
            "totals": totals,
            "is_complete": len(rows) <= MOST,
            "results": rows[:MOST],
        }
        return Response(UsageReportSerializer(report).data)

    def _asked(self) -> UsageAsked:
        given = {name: text for name, text in self.request.query_params.items() if name != "format"}
        query = UsageQuerySerializer(data=given)
        query.is_valid(raise_exception=True)
        data = query.validated_data
        begin, end = data.get("begin"), data.get("end")
        if begin is None:
            begin = period_of("month", end or clock.now())[0]
        account = None
        if "account" in data:
            account = Account.objects.visible_to(self.request.user).filter(pk=data["account"]).first()
            if account is None:
                raise NotFound("No such account, or not one that you see.", attr="account")
        return UsageAsked(
            begin=begin,
            end=end or period_of("month", begin)[1],
            group_by=data.get("group_by", ("account", "month")),
            account=account,
            narrow={name: data[name] for name in NARROWED if name in data},
        )


def _csv(asked: UsageAsked, user: Any) -> StreamingHttpResponse:
    rows = usage_rows(asked, by=user)
    answer = StreamingHttpResponse(csv_cells.lines(_lines(asked, rows)), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="usage-{asked.begin:%Y-%m-%d}.csv"'
    answer["X-Content-Type-Options"] = "nosniff"
    return answer


def _lines(asked: UsageAsked, rows: Iterator[dict]) -> Iterator[list[Any]]:
    columns = [part for name in asked.group_by for part in (name, NAMES.get(name)) if part]
    yield [*columns, *FIGURES]
    for row in rows:
        hours = [part for name in ("ms", "quota_ms", "reserved_ms") for part in (row[name], show_hours(row[name]))]
        figures = [row["task_count"], *hours, row["paid"], show_micro(row["paid"])]
        yield [*(row[name] for name in columns), *figures]
