"""The GPUs of the house as the matcher sees them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet

from gpus import windows
from gpus.executors import runs
from gpus.models import GPU
from tasks.placement import Need, Slot

if TYPE_CHECKING:
    from tasks.models import Task


# One row of plain values each: ten thousand GPUs as objects, with their hosts and accounts, take a second to make.
_COLUMNS = (
    "pk",
    "host_id",
    "model",
    "vram_mib",
    "capability_number",
    "price_per_hour",
    "accepts_quota",
    "is_simulated",
    "visibility",
    "host__account__path",
    "host__region",
    "host__executors",
    "host__name",
    "host__labels",
    "labels",
    "schedule",
    "is_closed",
    "turns_at",
    "host__maintenance_from",
    "host__maintenance_until",
    "foreign_processes",
    "host__reliability",
)


FOR_EVER_MS = 2**53
_TIMES = _COLUMNS.index("schedule")


def slots(gpus: QuerySet[GPU], *, now: datetime) -> list[Slot]:
    """Read GPUs as the matcher sees them; a GPU's label goes before its host's of the same name."""
    read = []
    known: dict[tuple[str, ...], frozenset[str]] = {}  # one set for all hosts that run the same
    for row in gpus.values_list(*_COLUMNS):
        *device, its_executors, host_name, host_labels, labels = row[:_TIMES]
        schedule, *times, foreign, reliability = row[_TIMES:]
        ends_at = windows.ends_at(schedule, *times, now=now)
        executors = known.setdefault(tuple(its_executors), runs(its_executors))
        values: list[Any] = [*device, {**host_labels, **labels}, executors, host_name]
        open_for_ms = None if ends_at is None else (ends_at - now) // timedelta(milliseconds=1)
        values += [open_for_ms, bool(schedule.get("may_stop")), foreign > 0, reliability]
        read.append(Slot(*values))
    return read


def wanted_ms(task: Task) -> int:
    """Tell for how long a task wants its GPUs: what goes on would find any hours too short."""
    return FOR_EVER_MS if task.is_open_ended else task.limit_ms


def need_of(task: Task, *, not_on: frozenset[UUID] = frozenset(), is_timed: bool = True) -> Need:
    """Read what a task asks for; its account was selected with it.

    Where no GPU ever closes (`is_timed` False) its limit is left out, so that tasks which differ in that alone are
    told from each other no more.
    """
    return Need(
        task_id=task.pk,
        gpus=task.gpus,
        funding=task.funding,
        account_path=task.account.path,
        executor=task.executor,
        min_vram_mib=task.min_vram_mib or 0,
        model=task.gpu_model,
        min_capability=task.min_compute_capability or 0,
        max_price_per_hour=task.max_price_per_hour,
        region=task.region,
        labels=task.labels,
        host_id=task.host_id,
        allow_simulated=settings.ALLOW_SIMULATED,
        not_on=not_on,
        limit_ms=wanted_ms(task) if is_timed else 0,
        is_interruptible=is_timed and task.interruptible,
        owner=f"/{task.reserved_owner_id}/" if task.reserved_owner_id else "",
    )
