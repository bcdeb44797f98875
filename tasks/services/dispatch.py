"""The matcher: one pass over the queue and the free GPUs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction

from gaas.lib import clock
from gpus.models import GPU
from gpus.services import wake_hosts
from tasks.choices import TaskStatus
from tasks.models import Attempt, AttemptGPU, Scheduler, Task
from tasks.placement import Field, Fleet, Need, Placement, Reason, Slot, fits_now
from tasks.services.field import need_of, slots, wanted_ms
from tasks.sql import one_pass_at_a_time

# So many tasks are read at once, and so many in a pass at the most while GPUs are left. The first page may be full of
# tasks that nothing fits; those behind them must not wait for that.
PAGE = 1000
QUEUE_DEPTH = 10 * PAGE


def schedule(now: Callable[[], datetime] = clock.now) -> int:
    """Run passes until every wake that was asked for is served; return how many attempts were offered.

    One caller at a time. Whoever finds the lock taken may leave: its wake was counted before it tried, and
    the holder reads the counter again after it let go of the lock.
    """
    offered = 0
    while True:
        with one_pass_at_a_time() as mine:
            if not mine:
                return offered
            requested = Scheduler.objects.values_list("requested", flat=True).get(pk=1)
            offered += _run_pass(now())
            Scheduler.objects.filter(pk=1).update(served=requested, last_pass_at=now())
        served, requested = Scheduler.objects.values_list("served", "requested").get(pk=1)
        if served >= requested:
            return offered


def _run_pass(now: datetime) -> int:
    """Place the top of the queue.

    1. Read free GPUs, late refusals, and the queue, page by page while GPUs are left. 2. Place in memory. 3. Offer
    in one transaction that looks again at what it takes. 4. Tell every task that stays why.
    """
    # Programs may be large, and placing them asks nothing of them.
    rows = Task.objects.queue().select_related("account").defer("spec", "env", "secrets", "inputs", "result")
    page = list(rows[:PAGE])
    if not page:
        return 0
    free = slots(GPU.objects.free(now=now), now=now)
    field, is_timed = Field(free), any(slot.open_for_ms is not None for slot in free)
    refused: dict[UUID, set[UUID]] = defaultdict(set)
    since = now - timedelta(seconds=settings.HOST_COOL_DOWN_SECONDS)
    for task_id, host_id in Attempt.objects.refused_since(since).values_list("task_id", "host_id"):
        refused[task_id].add(host_id)
    queue: list[Task] = []
    needs: dict[UUID, Need] = {}
    placements: list[Placement] = []
    while page:
        of_page = {
            task.pk: need_of(task, not_on=frozenset(refused.get(task.pk, ())), is_timed=is_timed) for task in page
        }
        queue += page
        needs |= of_page
        placements += field.place(of_page.values())
        is_last = len(page) < PAGE or field.is_empty or len(queue) >= QUEUE_DEPTH
        page = [] if is_last else list(rows[len(queue) : len(queue) + PAGE])
    offered = _offer(placements, needs, now) if placements else set()
    left = [task for task in queue if task.pk not in offered]
    if left:
        _tell_why(left, needs, now)
    return len(offered)


def _tell_why(left: list[Task], needs: dict[UUID, Need], now: datetime) -> None:
    """Store why each of these waits, where that is another reason than before: one UPDATE a reason."""
    fleet = Fleet(slots(GPU.objects.listed(), now=now))
    changed: dict[Reason, list[UUID]] = defaultdict(list)
    reasons: dict[tuple[object, ...], Reason] = {}
    for task in left:
        terms = needs[task.pk].terms
        reason = reasons.get(terms) or reasons.setdefault(terms, fleet.why_none(needs[task.pk]))
        if task.waiting != reason.as_json():
            changed[reason].append(task.pk)
    for reason, ids in changed.items():
        # On the state too: one that was decided meanwhile waits for nothing any more.
        Task.objects.filter(pk__in=ids, status=TaskStatus.APPROVED).update(waiting=reason.as_json())


def _offer(placements: list[Placement], needs: dict[UUID, Need], now: datetime) -> set[UUID]:
    """Write attempts for what still stands; locks: tasks by id → attempts and GPUs (unique) → hosts by id.

    A GPU is looked at again as a whole: its owner may have changed the price since the placement was made.
    """
    wanted = {p.task_id: p for p in placements}
    gpu_ids = [gpu_id for p in placements for gpu_id in p.gpu_ids]
    with transaction.atomic():
        locked = (
            Task.objects.select_for_update(no_key=True, skip_locked=True, of=("self",))
            .filter(pk__in=wanted, status=TaskStatus.APPROVED)
            .order_by("pk")
        )
        still = {task.pk: task for task in locked}
        free = {slot.gpu_id: slot for slot in slots(GPU.objects.free(now=now).filter(pk__in=gpu_ids), now=now)}
        attempts, links, reasons = [], [], {}
        for task_id, placement in wanted.items():
            if task_id not in still or not all(
                gpu_id in free and fits_now(needs[task_id], free[gpu_id]) for gpu_id in placement.gpu_ids
            ):
                continue
            task = still[task_id]
            reasons[task] = f"Offered to {free[placement.gpu_ids[0]].host_name}."
            attempt = Attempt(
                task=task,
                epoch=task.epoch + 1,
                host_id=placement.host_id,
                offered_at=now,
                limit_ms=time_left_ms(task),
                stop_at=_stop_at(task, [free[gpu_id] for gpu_id in placement.gpu_ids], now),
            )
            attempts.append(attempt)
            links += [
                AttemptGPU(attempt=attempt, gpu_id=gpu_id, price_per_hour=free[gpu_id].price_per_hour)
                for gpu_id in placement.gpu_ids
            ]
        Task.assign_all(reasons, now=now)
        Attempt.objects.bulk_create(attempts)
        AttemptGPU.objects.bulk_create(links)
        if attempts:
            wake_hosts(attempt.host_id for attempt in attempts)
    return {attempt.task_id for attempt in attempts}


def _stop_at(task: Task, slots: list[Slot], now: datetime) -> datetime | None:
    """Tell when a task that may be interrupted has to make way for the owners of its GPUs, if it has to."""
    shortest = min((slot.open_for_ms for slot in slots if slot.open_for_ms is not None), default=None)
    if not task.interruptible or shortest is None or shortest >= wanted_ms(task):
        return None
    return now + timedelta(milliseconds=shortest)


def time_left_ms(task: Task) -> int:
    """Give what is left of a task's limit after the attempts that its payer pays for."""
    if not task.epoch:
        return task.limit_ms
    if task.is_open_ended:
        return task.limit_ms - sum(attempt.paid_ms for attempt in task.attempts.all())
    if not task.user_failures:
        return task.limit_ms
    return task.limit_ms - sum(task.attempts.charged().values_list("metered_ms", flat=True))
