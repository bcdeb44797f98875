"""What a task's GPUs did, and how its program went, as curves."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from gaas.lib import clock
from tasks import services


class SampleOutput(serializers.Serializer):
    """What a GPU did in the `seconds` from `at` on: means, of the memory the most; null where not measured."""

    at = serializers.DateTimeField()
    seconds = serializers.IntegerField(source="step")
    utilisation = serializers.FloatField(allow_null=True, help_text="Percent.")
    memory_mib = serializers.FloatField(allow_null=True)
    power_w = serializers.FloatField(allow_null=True)
    temperature_c = serializers.FloatField(allow_null=True)


class GPUCurvesOutput(serializers.Serializer):
    id = serializers.UUIDField(source="gpu.pk")
    uuid = serializers.CharField(source="gpu.uuid")
    model = serializers.CharField(source="gpu.model")
    vram_mib = serializers.IntegerField(source="gpu.vram_mib")
    samples = SampleOutput(many=True)


class PointOutput(serializers.Serializer):
    at = serializers.DateTimeField()
    second = serializers.IntegerField(help_text="Seconds since the program's start.")
    step = serializers.FloatField(allow_null=True)
    of = serializers.FloatField(allow_null=True)
    metrics = serializers.DictField(child=serializers.FloatField())


class CurvesOutput(serializers.Serializer):
    """The curves of one attempt, oldest first; all empty while nothing has started."""

    attempt = serializers.UUIDField(source="attempt.pk", default=None, allow_null=True)
    started_at = serializers.DateTimeField(source="attempt.started_at", default=None, allow_null=True)
    ended_at = serializers.DateTimeField(source="attempt.ended_at", default=None, allow_null=True)
    idle_since = serializers.DateTimeField(
        source="attempt.idle_since",
        default=None,
        allow_null=True,
        help_text="Since when its GPUs do next to nothing; a task that goes on so is ended.",
    )
    gpus = GPUCurvesOutput(many=True)
    progress = PointOutput(many=True)


class CurvesMixin:
    """Add GET tasks/{id}/metrics/ to the view of tasks."""

    @extend_schema(
        parameters=[
            OpenApiParameter("attempt", OpenApiTypes.UUID, description="Default: the last that has started."),
        ],
        responses=CurvesOutput,
    )
    @action(detail=True, filter_backends=[], filterset_class=None, pagination_class=None, query_params=("attempt",))
    def metrics(self: Any, request: Request, version: str, pk: str) -> Response:
        """Show what an attempt's GPUs did while it ran, and the metrics that its program reported, as curves."""
        task, wanted = self._visible(pk), request.query_params.get("attempt")
        attempt = self._attempt(task, wanted) if wanted is not None else task.attempts.started().first()
        curves = services.read_curves(attempt, now=clock.now())
        return Response(self.sparse(CurvesOutput(curves)).data)
