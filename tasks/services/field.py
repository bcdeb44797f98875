"""The GPUs of the house as the matcher sees them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings

from gpus.models import GPU
from tasks.placement import Need, Slot

if TYPE_CHECKING:
    from tasks.models import Task


def slot_of(gpu: GPU) -> Slot:
    """Read a GPU whose host and the host's account were selected with it."""
    host = gpu.host
    return Slot(
        gpu_id=gpu.pk,
        host_id=gpu.host_id,
        model=gpu.model,
        vram_mib=gpu.vram_mib,
        capability=gpu.capability_number,
        price_per_hour=gpu.price_per_hour,
        accepts_quota=gpu.accepts_quota,
        is_simulated=gpu.is_simulated,
        visibility=gpu.visibility,
        owner_path=host.account.path,
        region=host.region,
        labels={**host.labels, **gpu.labels},
        executors=frozenset(host.executors),
    )


def slots(gpus: Iterable[GPU]) -> list[Slot]:
    return [slot_of(gpu) for gpu in gpus]


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
