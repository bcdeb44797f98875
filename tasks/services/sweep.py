"""The sweep: every few seconds do what a row says is due, whatever became of the messages about it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from accounts.ledger.services import release
from gpus.models import Host
from tasks.choices import AttemptStatus, Fault, StepStatus, TaskStatus
from tasks.models import Attempt, Scheduler, Task
from tasks.services.artifacts import sweep_checkpoints
from tasks.services.attempts import close
from tasks.services.files import sweep_files
from tasks.services.idle import mend_idleness
from tasks.services.prolong import prolong_due
from tasks.services.wakes import schedule_soon

log = logging.getLogger("app")

BATCH = 200
EVER = datetime(2000, 1, 1, tzinfo=UTC)  # before the first tick of all


def sweep(*, now: datetime) -> None:
    """Reap what hosts lost, expire what waited too long, ask for a pass while anything waits, remove old files.

    Safe to run twice at once: every step is a conditional change of one row.
    """
    if is_back_from_a_gap(now=now):
        # Nobody could have been heard meanwhile; take nothing away for the platform's own silence.
        return
    reap(now=now)
    expire(now=now)
    mend_idleness(now=now)
    prolong_due(now=now)
    if Task.objects.queue().exists():
        schedule_soon()
    # Last, since the place where files are kept may be slow.
    sweep_checkpoints(now=now)
    sweep_files(now=now)


def is_back_from_a_gap(*, now: datetime) -> bool:
    """Note this tick; after a start, a gap or a jump of the clock see to the leases, and say so.

    Who was heard since the gap before this one, and had a lease at the last tick, has one for a period from now. Of
    who was silent then the gap does not count: as much is left of its lease, or of its reconnect window, as was at the
    last tick. So a platform that starts again and again renews nobody for ever, and nobody who was lost already.

    Locks as a pass of the matcher takes them: hosts by id → scheduler.
    """
    last, before = Scheduler.objects.values_list("last_sweep_at", "sweeping_since").get(pk=1)
    state = Scheduler.objects.filter(pk=1)
    gap = timedelta(seconds=max(4 * settings.SWEEP_SECONDS, settings.LEASE_SECONDS / 2))
    if last is not None and abs(now - last) < gap:
        state.update(last_sweep_at=now)
        return False
    with transaction.atomic():
        last = last or EVER
        granted = Host.objects.filter(lease_expires_at__gt=last - timedelta(seconds=settings.RECONNECT_SECONDS))
        rows = granted.select_for_update().order_by("pk").values_list("pk", "lease_expires_at", "last_sync_at")
        heard: list[UUID] = []
        silent: list[UUID] = []
        for pk, expires_at, heard_at in list(rows):
            is_live = (
                expires_at is not None
                and expires_at > last
                and (before is None or (heard_at is not None and heard_at > before))
            )
            (heard if is_live else silent).append(pk)
        Host.objects.filter(pk__in=heard).update(lease_expires_at=now + timedelta(seconds=settings.LEASE_SECONDS))
        Host.objects.filter(pk__in=silent).update(lease_expires_at=F("lease_expires_at") + (now - last))
        state.update(last_sweep_at=now, sweeping_since=now)
    return True


def reap(*, now: datetime) -> None:
    """Close attempts that their hosts do not hold to.

    Offers nobody took within OFFER_SECONDS and preparations beyond PREPARE_SECONDS (in a cluster's queue
    QUEUED_SECONDS) are REFUSED and placed elsewhere, but not before OFFER_SECONDS in which hosts could reach
    the platform. After a missed lease and the reconnect window the grant is void: LOST, metered to the last
    acknowledged sync. The agent has ended the program FENCE_MARGIN_SECONDS before.
    """
    grace = timedelta(seconds=settings.RECONNECT_SECONDS)
    open_ = Attempt.objects.open()
    for attempt in open_.filter(host__lease_expires_at__lt=now - grace)[:BATCH]:
        _close_if(
            attempt,
            lambda a: a.host.lease_expires_at is not None and a.host.lease_expires_at < now - grace,
            status=AttemptStatus.LOST,
            code="host_lost",
            detail="The host was not heard of within its lease and the reconnect window.",
            now=now,
        )
    offered_before = now - timedelta(seconds=settings.OFFER_SECONDS)
    if Scheduler.objects.filter(pk=1, sweeping_since__gt=offered_before).exists():
        return
    for attempt in open_.filter(status=AttemptStatus.OFFERED, offered_at__lt=offered_before)[:BATCH]:
        _close_if(
            attempt,
            lambda a: a.status == AttemptStatus.OFFERED,
            status=AttemptStatus.REFUSED,
            code="offer_ignored",
            detail="The host did not take the offer in time.",
            now=now,
        )
    prepared_before = now - timedelta(seconds=settings.PREPARE_SECONDS)
    offered_before = now - timedelta(seconds=settings.QUEUED_SECONDS)
    is_too_long = Q(prepared_from__lt=prepared_before) | Q(offered_at__lt=offered_before)
    too_long = open_.filter(is_too_long, status=AttemptStatus.PREPARING)
    for attempt in too_long[:BATCH]:
        _close_if(
            attempt,
            # As it is now: it may wait in a queue since.
            lambda a: too_long.filter(pk=a.pk).exists(),
            status=AttemptStatus.REFUSED,
            code="preparation_too_long",
            detail="The host did not get it ready in time.",
            now=now,
        )


@contextmanager
def _alone(task_id: UUID) -> Iterator[None]:
    """Give one task a transaction of its own; if it fails the others must not wait for it."""
    try:
        with transaction.atomic():
            yield
    except Exception:
        log.exception("the sweep cannot end task %s", task_id)


def _close_if(
    stale: Attempt, still: Callable[[Attempt], bool], *, status: str, code: str, detail: str, now: datetime
) -> None:
    """Look again under the task's lock, then close: a sync may have come in between."""
    with _alone(stale.task_id):
        task = (
            Task.objects.select_for_update(no_key=True, of=("self",))
            .select_related("hold", "account")
            .get(pk=stale.task_id)
        )
        attempt = Attempt.objects.select_related("host").get(pk=stale.pk)
        if attempt.is_open and still(attempt):
            close(
                attempt,
                task,
                status=status,
                fault=Fault.HOST,
                code=code,
                detail=detail,
                until=attempt.acked_at or now,
                now=now,
            )


def expire(*, now: datetime) -> None:
    """End tasks that nobody approved, or no GPU was found for, by the moment their submitter set."""
    for stale in Task.objects.waited_too_long(now=now).order_by("pk")[:BATCH]:
        with _alone(stale.pk):
            task = (
                Task.objects.select_for_update(no_key=True, skip_locked=True, of=("self",))
                .select_related("account")
                .filter(pk=stale.pk, status__in=[TaskStatus.PENDING, TaskStatus.APPROVED])
                .first()
            )
            if task is None:
                continue
            waited_for = "an approval" if task.status == TaskStatus.PENDING else "free GPUs"
            task.expire(reason=f"It waited for {waited_for} longer than its submitter wanted.", now=now)
            task.approval_steps.filter(status=StepStatus.PENDING).update(status=StepStatus.VOID)
            release(hold_id=task.hold_id)
