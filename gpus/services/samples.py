"""What GPUs measured, kept: fine for an hour, coarser with age, gone after a month."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Case, F, JSONField, PositiveIntegerField, Value, When

from gpus.models import GPU, GPUSample, Host
from gpus.samples import MEASURED, merged

# Seconds a step, and how long rows of it are kept; what leaves the last one is forgotten.
RAW = 10
STEPS = ((RAW, timedelta(hours=1)), (60, timedelta(days=1)), (600, timedelta(days=30)))
BATCH = 2000
ROUNDS = 20


def floor(moment: datetime, step: int) -> datetime:
    """Give the beginning of the step that a moment is in."""
    return datetime.fromtimestamp(moment.timestamp() // step * step, UTC)


def keep_samples(*, host: Host, samples: dict[str, dict[str, float]], now: datetime) -> bool:
    """Store what a host's GPUs measured; returns whether one of them can be offered again.

    One row a GPU and step of RAW seconds, however often an agent reports: the first counts. Foreign processes
    stay as they were told last, until a report tells otherwise.
    """
    gpus = GPU.objects.filter(host=host, uuid__in=samples).values_list("uuid", "pk", "foreign_processes")
    known = {uuid: (pk, foreign) for uuid, pk, foreign in gpus}
    if not known:
        return False
    told = {uuid: samples[uuid] for uuid in known}
    changes: dict[str, Any] = {
        "metrics": Case(
            *(When(pk=known[uuid][0], then=_json(values, now)) for uuid, values in told.items()),
            default=F("metrics"),
            output_field=JSONField(),
        )
    }
    foreign = {uuid: int(values["foreign_processes"]) for uuid, values in told.items() if "foreign_processes" in values}
    moved = {uuid: count for uuid, count in foreign.items() if count != known[uuid][1]}
    if moved:
        changes["foreign_processes"] = Case(
            *(When(pk=known[uuid][0], then=Value(count)) for uuid, count in moved.items()),
            default=F("foreign_processes"),
            output_field=PositiveIntegerField(),
        )
    GPU.objects.filter(pk__in=[pk for pk, _ in known.values()]).update(**changes)
    at = floor(now, RAW)
    GPUSample.objects.bulk_create(
        [
            GPUSample(gpu_id=known[uuid][0], step=RAW, at=at, **{name: values.get(name) for name in MEASURED})
            for uuid, values in sorted(told.items())
            if any(name in values for name in MEASURED)
        ],
        ignore_conflicts=True,
    )
    return any(count == 0 for count in moved.values())


def _json(values: dict[str, float], now: datetime) -> Value:
    return Value({**values, "at": now.isoformat()}, output_field=JSONField())


def thin_samples(*, now: datetime) -> int:
    """Make coarse rows of fine ones that are old enough and forget the oldest; returns how many rows went.

    In batches, each a transaction of its own, at most ROUNDS a call: the next call goes on. A coarse row that is
    there already takes in what comes later, weighted, so a batch may end anywhere.
    """
    gone = 0
    for _ in range(ROUNDS):
        in_round = sum(_thin(step, age, coarser, now) for (step, age), coarser in zip(STEPS, _COARSER, strict=True))
        gone += in_round
        if not in_round:
            break
    return gone


_COARSER = (*(step for step, _ in STEPS[1:]), None)


@transaction.atomic
def _thin(step: int, age: timedelta, coarser: int | None, now: datetime) -> int:
    # Only whole coarse steps, or the last one would be written at each call.
    before = floor(now - age, coarser or step)
    old = GPUSample.objects.filter(step=step, at__lt=before).order_by("at")
    rows = list(old.select_for_update(skip_locked=True)[:BATCH])
    if not rows:
        return 0
    if coarser is not None:
        _take_in(rows, coarser)
    GPUSample.objects.filter(pk__in=[row.pk for row in rows]).delete()
    return len(rows)


def _take_in(rows: Iterable[GPUSample], step: int) -> None:
    def slot(row: GPUSample) -> tuple[UUID, datetime]:
        return row.gpu_id, floor(row.at, step)

    groups = {key: list(group) for key, group in groupby(sorted(rows, key=slot), key=slot)}
    there = GPUSample.objects.filter(
        step=step, gpu__in={gpu for gpu, _ in groups}, at__in={at for _, at in groups}
    ).select_for_update()
    for row in there:
        if (row.gpu_id, row.at) in groups:
            groups[row.gpu_id, row.at].append(row)
    GPUSample.objects.bulk_create(
        [GPUSample(gpu_id=gpu, at=at, step=step, **merged(group)) for (gpu, at), group in groups.items()],
        update_conflicts=True,
        unique_fields=["gpu", "at", "step"],
        update_fields=["weight", *MEASURED],
    )


def read_samples(
    *, gpus: Collection[UUID], since: datetime, until: datetime, most: int = 500
) -> dict[UUID, list[GPUSample]]:
    """Give each GPU's samples of a time, oldest first, at most about `most` each: neighbours become one."""
    step = (until - since).total_seconds() / most
    rows = GPUSample.objects.filter(gpu__in=gpus, at__gte=since, at__lt=until).order_by("gpu", "at")
    found: dict[UUID, list[GPUSample]] = {}
    for (gpu, _), group in groupby(rows, key=lambda row: (row.gpu_id, (row.at - since).total_seconds() // step)):
        near = list(group)
        first = near[0]
        seconds = (near[-1].at - first.at).total_seconds() + near[-1].step
        whole = first if len(near) == 1 else GPUSample(gpu_id=gpu, at=first.at, step=int(seconds), **merged(near))
        found.setdefault(gpu, []).append(whole)
    return found
