"""The way a program went: its progress lines kept as points of curves, however many it writes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gpus.models import GPU, GPUSample
from gpus.services import read_samples
from tasks.choices import AttemptStatus
from tasks.models import Attempt, ProgressPoint

MOST_METRICS = 16
MOST_NAME = 64
# So many seconds are kept each; of twice as many every second one, of four times as many every fourth, and so on.
FINE_SECONDS_BITS = 8


def slot_of(elapsed_seconds: int) -> int:
    """Give the second that stands for this one: 256 seconds each, then 128 points for every doubling of the time.

    A week makes about 1 700 points, and no older one has to be thought about again.
    """
    coarseness = max(0, elapsed_seconds.bit_length() - FINE_SECONDS_BITS)
    return elapsed_seconds >> coarseness << coarseness


def point_of(attempt: Attempt, progress: dict[str, Any], *, now: datetime) -> ProgressPoint | None:
    """Read what a progress line says in numbers; None where it says nothing that makes a curve."""
    if attempt.started_at is None or attempt.status != AttemptStatus.RUNNING:
        return None
    given = progress.get("metrics")
    metrics = {
        name: value
        for name, value in (given if isinstance(given, dict) else {}).items()
        if 0 < len(name) <= MOST_NAME and name.isprintable() and _is_number(value)
    }
    step, of = (progress.get(name) if _is_number(progress.get(name)) else None for name in ("step", "of"))
    if step is None and not metrics:
        return None
    elapsed = max(0, (now - attempt.started_at) // timedelta(seconds=1))
    return ProgressPoint(
        attempt=attempt,
        second=slot_of(elapsed),
        at=now,
        step=step,
        of=of,
        metrics=dict(list(metrics.items())[:MOST_METRICS]),
    )


def keep_points(points: list[ProgressPoint]) -> None:
    """Store points in one statement; of those that share a slot the last one stands."""
    ProgressPoint.objects.bulk_create(
        points,
        update_conflicts=True,
        unique_fields=["attempt", "second"],
        update_fields=["at", "step", "of", "metrics"],
    )


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 1e300
    )


@dataclass(frozen=True)
class GPUCurves:
    """What one GPU of an attempt did while that ran."""

    gpu: GPU
    samples: list[GPUSample]


@dataclass(frozen=True)
class Curves:
    """Everything about an attempt that can be drawn over time, oldest first."""

    attempt: Attempt | None
    gpus: list[GPUCurves]
    progress: list[ProgressPoint]


def read_curves(attempt: Attempt | None, *, now: datetime, most: int = 500) -> Curves:
    """Read the curves of one attempt: three queries, at most `most` samples a GPU."""
    if attempt is None or attempt.started_at is None:
        return Curves(attempt, [], [])
    gpus = [link.gpu for link in attempt.gpu_links.select_related("gpu").order_by("gpu__index", "gpu_id")]
    # A sample stands at the beginning of its step, which is a little before the start.
    since, until = attempt.started_at - timedelta(seconds=10), attempt.ended_at or now
    samples = read_samples(gpus=[gpu.pk for gpu in gpus], since=since, until=until, most=most)
    return Curves(
        attempt, [GPUCurves(gpu, samples.get(gpu.pk, [])) for gpu in gpus], list(attempt.points.order_by("second"))
    )
