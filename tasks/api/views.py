from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from gaas.lib import clock
from gaas.lib.errors import NotFound
from gaas.lib.rest.etag import ETagMixin
from gaas.lib.rest.filters import SparseFields, refuse_unknown
from gaas.lib.rest.serializers import NoFields
from gaas.lib.rest.throttles import ScopedThrottle
from gaas.outbox.api import Idempotent
from tasks import services
from tasks.api import serializers
from tasks.api.filters import TaskFilter
from tasks.api.metrics import CurvesMixin
from tasks.api.streams import StreamTickets
from tasks.models import ApprovalStep, Attempt, Task
from tasks.querysets import TaskQuerySet
from tasks.services.reading import read_log_of

MAX_OFFSET = 2**62
# What a key needs to decide.
DECIDING = "approvals:write"


class PlainText(BaseRenderer):
    """Let clients ask for a log as what it is: text, never a page."""

    media_type = "text/plain"
    format = "txt"
    charset = "utf-8"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> Any:
        return data


class TaskViewSet(
    CurvesMixin,
    Idempotent,
    ETagMixin,
    SparseFields,
    StreamTickets,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    GenericViewSet,
):
    """Tasks of the accounts that the caller sees."""

    queryset = Task.objects.none()
    filterset_class = TaskFilter
    query_params: tuple[str, ...] = ()
    throttle_scope = "quote"
    key_scope = "tasks"

    def get_queryset(self) -> TaskQuerySet:
        tasks = Task.objects.visible_to(self.request.user).select_related("submitted_by")
        if self.action == "list":
            return tasks.defer("spec", "env", "secrets", "inputs", "result", "labels")
        tasks = tasks.select_related("account", "hold")
        return tasks.prefetch_related("approval_steps__decided_by") if self.action == "retrieve" else tasks

    def get_serializer_class(self) -> type:
        return {
            "list": serializers.TaskListOutput,
            "retrieve": serializers.TaskOutput,
            "create": serializers.TaskInput,
            "quote": serializers.TaskInput,
            "approve": serializers.ApproveInput,
            "reject": serializers.RejectInput,
            "cancel": serializers.ReasonInput,
            "complete": serializers.RejectInput,
        }.get(self.action, serializers.TaskOutput)

    @extend_schema(request=serializers.TaskInput, responses={201: serializers.TaskOutput})
    def create(self, request: Request, version: str) -> Response:
        """Submit a task: its hours or money are held, and it waits for its approvals."""
        task = services.submit(self.read().draft(request.user), by=request.user, now=clock.now())
        return self._task(task, status.HTTP_201_CREATED)

    @extend_schema(request=serializers.TaskInput, responses=serializers.QuoteOutput)
    @action(detail=False, methods=["post"], throttle_classes=[ScopedThrottle], key_scope="tasks:read")
    def quote(self, request: Request, version: str) -> Response:
        """Tell what a submit of the same body would hold, need and wait for; stores nothing."""
        quoted = services.quote(self.read().draft(request.user), by=request.user, now=clock.now())
        return Response(serializers.QuoteOutput(quoted).data)

    @extend_schema(request=serializers.ApproveInput, responses=serializers.TaskOutput)
    @action(detail=True, methods=["post"], key_scope=DECIDING)
    def approve(self, request: Request, version: str, pk: str) -> Response:
        """Approve the step that waits for the caller; `hours` and `priority` set what the task may use."""
        task = self.get_object()
        data = self.body()
        services.approve(
            task,
            by=request.user,
            reason=data["reason"],
            limit_ms=data.get("hours"),
            priority=data.get("priority"),
            now=clock.now(),
        )
        return self._task(task)

    @extend_schema(request=serializers.RejectInput, responses=serializers.TaskOutput)
    @action(detail=True, methods=["post"], key_scope=DECIDING)
    def reject(self, request: Request, version: str, pk: str) -> Response:
        """Reject the task: the submitter sees the reason, and the hold goes back."""
        task = self.get_object()
        reason = self.body()["reason"]
        services.reject(task, by=request.user, reason=reason, now=clock.now())
        return self._task(task)

    @extend_schema(request=serializers.ReasonInput, responses=serializers.TaskOutput)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, version: str, pk: str) -> Response:
        """Cancel: at once where nothing runs, else shown as cancelling until no process is left."""
        task = self.get_object()
        reason = self.body()["reason"]
        services.cancel(task, by=request.user, reason=reason, now=clock.now())
        return self._task(task)

    @extend_schema(request=serializers.RejectInput, responses=serializers.TaskOutput)
    @action(detail=True, methods=["post"])
    def complete(self, request: Request, version: str, pk: str) -> Response:
        """Staff: stop the running program and settle what was metered."""
        task = self.get_object()
        reason = self.body()["reason"]
        services.complete(task, by=request.user, reason=reason, now=clock.now())
        return self._task(task)

    @extend_schema(request=None, responses={201: serializers.TaskOutput})
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, version: str, pk: str) -> Response:
        """Submit an ended task again: a new task with a hold and approvals of its own."""
        self.body(NoFields)
        task = services.retry(self.get_object(), by=request.user, now=clock.now())
        return self._task(task, status.HTTP_201_CREATED)

    @extend_schema(responses=serializers.EventOutput(many=True))
    @action(detail=True, filterset_class=None, serializer_class=serializers.EventOutput)
    def events(self, request: Request, version: str, pk: str) -> Response:
        """List every change of the task, the newest first."""
        return self._page(self._visible(pk).events.order_by("-id"), serializers.EventOutput)

    @extend_schema(responses=serializers.AttemptOutput(many=True))
    @action(detail=True, filterset_class=None, serializer_class=serializers.AttemptOutput)
    def attempts(self, request: Request, version: str, pk: str) -> Response:
        """List the tries on hosts, the newest first."""
        attempts = self._visible(pk).attempts.select_related("host").prefetch_related("gpu_links__gpu")
        return self._page(attempts.order_by("-id"), serializers.AttemptOutput)

    @extend_schema(
        parameters=[
            OpenApiParameter("attempt", OpenApiTypes.UUID, description="Default: the last that wrote anything."),
            OpenApiParameter("offset", OpenApiTypes.INT64, description="Byte to begin from."),
        ],
        responses={(200, "text/plain"): OpenApiTypes.STR},
    )
    @action(
        detail=True,
        filter_backends=[],
        pagination_class=None,
        query_params=("attempt", "offset"),
        renderer_classes=[PlainText, *GenericViewSet.renderer_classes],
    )
    def logs(self, request: Request, version: str, pk: str) -> HttpResponse:
        """Give up to 256 KiB of an attempt's log; `X-Log-Next-Offset` is where to go on."""
        refuse_unknown(request.query_params, {"attempt", "offset"})
        task = self._visible(pk)
        attempt = self._attempt(task, request.query_params.get("attempt"))
        read_log_of(task, by=request.user, now=clock.now())
        offset = _offset(request.query_params.get("offset", "0"))
        data = services.read_log(attempt, offset=offset) if attempt else b""
        answer = HttpResponse(data, content_type="text/plain; charset=utf-8")
        answer["X-Log-Next-Offset"] = str(offset + len(data))
        answer["X-Log-Attempt"] = str(attempt.pk) if attempt else ""
        answer["X-Content-Type-Options"] = "nosniff"
        answer["Content-Disposition"] = f'inline; filename="{pk}.log"'
        return answer

    def _visible(self, pk: str) -> Task:
        try:
            return Task.objects.visible_to(self.request.user).get(pk=UUID(str(pk)))
        except (Task.DoesNotExist, ValueError):
            raise NotFound("There is no such task.") from None

    def _attempt(self, task: Task, wanted: str | None) -> Attempt | None:
        attempts = task.attempts.order_by("-epoch")
        if wanted is None:
            return attempts.filter(log_size__gt=0).first() or attempts.first()
        try:
            return attempts.get(pk=UUID(wanted))
        except (Attempt.DoesNotExist, ValueError):
            raise NotFound("There is no such attempt of this task.", attr="attempt") from None

    def _page(self, rows: Any, serializer: type) -> Response:
        page = self.paginate_queryset(self.filter_queryset(rows))
        return self.get_paginated_response(self.sparse(serializer(page, many=True)).data)

    def _task(self, task: Task, code: int = status.HTTP_200_OK) -> Response:
        return Response(serializers.TaskOutput(task).data, status=code)


class ApprovalViewSet(Idempotent, mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet):
    """Approval steps: the list has those that wait for the caller; by id, any of a task that the caller sees."""

    queryset = ApprovalStep.objects.none()
    key_scope = "tasks"
    serializer_class = serializers.ApprovalOutput

    def get_queryset(self) -> Any:
        user, steps = self.request.user, ApprovalStep.objects
        steps = steps.decidable_by(user) if self.action == "list" else steps.visible_to(user)
        return steps.select_related("task__submitted_by", "task__account", "task__hold", "decided_by")

    @extend_schema(request=serializers.ApproveInput, responses=serializers.TaskOutput)
    @action(detail=True, methods=["post"], serializer_class=serializers.ApproveInput, key_scope=DECIDING)
    def approve(self, request: Request, version: str, pk: str) -> Response:
        """Approve this step."""
        step, data = self.get_object(), self.body()
        task = step.task
        services.approve(
            task,
            step=step,
            by=request.user,
            reason=data["reason"],
            limit_ms=data.get("hours"),
            priority=data.get("priority"),
            now=clock.now(),
        )
        return Response(serializers.TaskOutput(task).data)

    @extend_schema(request=serializers.RejectInput, responses=serializers.TaskOutput)
    @action(detail=True, methods=["post"], serializer_class=serializers.RejectInput, key_scope=DECIDING)
    def reject(self, request: Request, version: str, pk: str) -> Response:
        """Reject the task by this step."""
        step, data = self.get_object(), self.body()
        task = step.task
        services.reject(task, step=step, by=request.user, reason=data["reason"], now=clock.now())
        return Response(serializers.TaskOutput(task).data)


def _offset(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= MAX_OFFSET:
        return int(text)
    raise ValidationError({"offset": ErrorDetail("Give a byte offset from 0.", "invalid")})
