"""The sweep: every few seconds do what a row says is due, whatever became of the messages about it."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from accounts.ledger.services import release
from gpus.models import Host
from tasks.choices import AttemptStatus, Fault, StepStatus, TaskStatus
from tasks.models import Attempt, Scheduler, Task
from tasks.services.attempts import close
from tasks.services.wakes import schedule_soon

BATCH = 200


def sweep(*, now: datetime) -> None:
    """Reap what hosts lost, expire what waited too long, and ask for a pass while anything waits.

    Safe to run twice at once: every step is a conditional change of one row.
    """
    if is_back_from_a_gap(now=now):
        # Nobody could have been heard meanwhile; take nothing away for the platform's own silence.
        return
    reap(now=now)
    expire(now=now)
    if Task.objects.queue().exists():
        schedule_soon()


def is_back_from_a_gap(*, now: datetime) -> bool:
    """Note this tick; after a start or a gap extend every live lease by one period and say so."""
    with transaction.atomic():
        state = Scheduler.objects.select_for_update().get(pk=1)
        last = state.last_sweep_at
        Scheduler.objects.filter(pk=1).update(last_sweep_at=now)
        gap = timedelta(seconds=max(4 * settings.SWEEP_SECONDS, settings.LEASE_SECONDS / 2))
        if last is not None and now - last < gap:
            return False
        lease = timedelta(seconds=settings.LEASE_SECONDS)
        grace = timedelta(seconds=settings.RECONNECT_SECONDS)
        alive_then = Host.objects.filter(lease_expires_at__gt=(last or now) - grace)
        alive_then.filter(lease_expires_at__lt=now + lease).update(lease_expires_at=now + lease)
    return True


def reap(*, now: datetime) -> None:
    """Close attempts that their hosts do not hold to.

    Offers nobody took within OFFER_SECONDS and preparations beyond PREPARE_SECONDS are REFUSED and placed
    elsewhere. After a missed lease and the reconnect window the grant is void: LOST, metered to the last
    acknowledged sync. The agent has ended the program FENCE_MARGIN_SECONDS before.
    """
    grace = timedelta(seconds=settings.RECONNECT_SECONDS)
    open_ = Attempt.objects.open()
    for attempt in open_.filter(host__lease_expires_at__lt=now - grace)[:BATCH]:
        _close_if(
            attempt,
            lambda a: a.host.lease_expires_at < now - grace,
            status=AttemptStatus.LOST,
            code="host_lost",
            detail="The host was not heard of within its lease and the reconnect window.",
            now=now,
        )
    offered_before = now - timedelta(seconds=settings.OFFER_SECONDS)
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
    for attempt in open_.filter(status=AttemptStatus.PREPARING, prepared_from__lt=prepared_before)[:BATCH]:
        _close_if(
            attempt,
            lambda a: a.status == AttemptStatus.PREPARING,
            status=AttemptStatus.REFUSED,
            code="preparation_too_long",
            detail="The host did not get it ready in time.",
            now=now,
        )


def _close_if(stale: Attempt, still, *, status: str, code: str, detail: str, now: datetime) -> None:
    """Look again under the task's lock, then close: a sync may have come in between."""
    with transaction.atomic():
        task = Task.objects.select_for_update(no_key=True, of=("self",)).select_related("hold").get(pk=stale.task_id)
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
        with transaction.atomic():
            task = (
                Task.objects.select_for_update(no_key=True, skip_locked=True)
                .filter(pk=stale.pk, status__in=[TaskStatus.PENDING, TaskStatus.APPROVED])
                .first()
            )
            if task is None:
                continue
            waited_for = "an approval" if task.status == TaskStatus.PENDING else "free GPUs"
            task.expire(reason=f"It waited for {waited_for} longer than its submitter wanted.", now=now)
            task.approval_steps.filter(status=StepStatus.PENDING).update(status=StepStatus.VOID)
            release(hold_id=task.hold_id)
