"""The GPUs of the house as the matcher sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet

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
)


def slots(gpus: QuerySet[GPU]) -> list[Slot]:
    """Read GPUs as the matcher sees them; a GPU's label goes before its host's of the same name."""
    read = []
    known: dict[tuple[str, ...], frozenset[str]] = {}  # one set for all hosts that run the same
    for *device, its_executors, host_name, host_labels, labels in gpus.values_list(*_COLUMNS):
        executors = known.setdefault(tuple(its_executors), frozenset(its_executors))
        values: list[Any] = [*device, {**host_labels, **labels}, executors, host_name]
        read.append(Slot(*values))
    return read


def need_of(task: Task, *, not_on: frozenset[UUID] = frozenset()) -> Need:
    """Read what a task asks for; its account was selected with it."""
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
    )
