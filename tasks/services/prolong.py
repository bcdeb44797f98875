"""Tasks that go on: charged hour by hour and paid ahead, until nobody can pay for the next hour."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q, Sum

from accounts.choices import Role
from accounts.ledger.services import extend, hold, release
from accounts.services import explain_cap, spending_of
from accounts.services.keys import caps_again
from accounts.services.people import people_around
from gaas.audit.services import record
from gaas.lib.amounts import MS_PER_HOUR
from gaas.lib.errors import Conflict, DomainError
from gaas.lib.retry import retried
from gaas.outbox import services as outbox
from tasks.choices import AttemptStatus, Fault
from tasks.funding import RULES
from tasks.models import Attempt, Task
from tasks.placement import Reason
from tasks.services.attempts import HOLD_USED_UP, used_up
from tasks.services.plan import shortage, step_ms
from tasks.services.settle import charge_part
from tasks.services.stop import ask_host_to_stop

log = logging.getLogger("app")

BATCH = 1000
RUNS_OUT = "hold_runs_out"
# By then the agent has ended by itself what has no time left; where it has not, it is asked to.
AGENTS_CHANCE = timedelta(seconds=60)
_MS = timedelta(milliseconds=1)


def prolong_due(*, now: datetime) -> None:
    """Prolong what goes on and has little left; tell of what ends by its limit soon, where that is an hour or more."""
    due = Attempt.objects.filter(status=AttemptStatus.RUNNING, runs_out_at__lte=now + _ahead())
    concerned = Q(task__is_open_ended=True) | Q(task__limit_ms__gte=MS_PER_HOUR, task__hold_warned_at=None)
    rows = due.filter(concerned).order_by("runs_out_at").values_list("task_id", "task__is_open_ended")
    for task_id, goes_on in rows[:BATCH]:
        try:
            prolong(task_id=task_id, now=now) if goes_on else _tell_of_limit(task_id=task_id, now=now)
        except Exception:
            # One task's trouble is its own; the next sweep looks again.
            log.exception("the sweep cannot prolong task %s", task_id)


def is_due(attempt: Attempt) -> bool:
    """Tell whether an attempt, as it stands in memory, should be prolonged."""
    return (
        attempt.task.is_open_ended
        and attempt.status == AttemptStatus.RUNNING
        and (attempt.limit_ms - attempt.metered_now) * _MS <= _ahead()
    )


def prolong(*, task_id: UUID, now: datetime) -> bool:
    """Charge what a task ran and hold the next hour for it, once however often and late this is called.

    Where that is refused (no funds, a cap, a frozen balance, a submitter who left) nothing moves: its submitter is
    told, or who manages the account. It may be tried again, and once the hold is used up the task ends. Never more
    than was held is charged.
    """
    try:
        return _prolong(task_id=task_id, now=now)
    except DomainError as refusal:
        _refused(task_id=task_id, why=refusal.detail, now=now)
        return False


@retried
def _prolong(*, task_id: UUID, now: datetime) -> bool:
    """Do it in one transaction. Locks: accounts (shared) → task → hold → balances → caps.

    1. Not running, being ended, or with enough left: nothing. 2. The next part is captured. 3. The hold is brought
    to the price of all that is not captured and one more step; in another period than its own by a new hold, so that
    each period's caps count what is held in it. 4. The limits of task and attempt grow by the step.
    """
    asked = Task.objects.select_related("account", "submitted_by").get(pk=task_id)
    rule = RULES[asked.funding]
    spending = spending_of(account=asked.account, asset=rule.asset, now=now)
    task = Task.objects.select_for_update(no_key=True, of=("self",)).select_related("hold__balance").get(pk=task_id)
    task.account, task.submitted_by = asked.account, asked.submitted_by
    attempt = task.attempts.filter(status=AttemptStatus.RUNNING).first()
    if attempt is None or not task.is_open_ended or task.cancel_requested_at or task.complete_requested_at:
        return False
    attempt.task = task
    if not is_due(attempt):
        # The host stood still for a while: it has more time left than was reckoned.
        _reckon(attempt, now)
        return False
    if spending.payer.pk != task.payer_id:
        raise Conflict(f"By now another account pays for {task.account}: submit it again.")
    if (gone := submitter_gone(task)) is not None:
        raise gone
    if attempt.metered_now > attempt.charged_ms:
        charge_part(task, attempt, metered_ms=attempt.metered_now, now=now)
        task.hold.refresh_from_db()
    step = step_ms()
    captured_ms = task.attempts.aggregate(sum=Sum("charged_ms"))["sum"] or 0
    wanted = rule.to_hold(
        gpus=task.gpus, limit_ms=task.limit_ms + step - captured_ms, price_ceiling=task.max_price_per_hour
    )
    try:
        _hold(task, wanted, [*spending.caps, *caps_again(task.hold.caps.all(), now=now)], spending.spender, attempt)
    except DomainError as refused:
        raise _explained(task, refused) from refused
    task.limit_ms, attempt.limit_ms = task.limit_ms + step, attempt.limit_ms + step
    Attempt.objects.filter(pk=attempt.pk).update(limit_ms=attempt.limit_ms, updated_at=now)
    _reckon(attempt, now)
    changes: dict[str, object] = {"limit_ms": task.limit_ms}
    if task.hold_warned_at is not None:
        changes |= {"hold_warned_at": None, "waiting": None}
        task.note(by=None, reason="Its hold was prolonged after all.", now=now)
    Task.objects.filter(pk=task.pk).update(**changes)
    return True


class SubmitterGone(Conflict):
    """Refuse to pay on for somebody who may not spend from the account any more."""


def submitter_gone(task: Task) -> SubmitterGone | None:
    """Say why nobody spends from the account for this task any more; None while its submitter may."""
    who = task.submitted_by
    if not who.is_active:
        return SubmitterGone(f"{who.get_full_name()}, who submitted it, was switched off. A member submits it anew.")
    role = task.account.spending_role_of(who)
    if role is None or role < Role.MEMBER:
        return SubmitterGone(
            f"{who.get_full_name()}, who submitted it, spends from {task.account} no more. A member submits it anew."
        )
    return None


def _hold(task: Task, wanted: int, caps: list, spender: str, attempt: Attempt) -> None:
    """Bring what is held for a task to `wanted`, counted in the caps of today."""
    caps = list({cap.pk: cap for cap in caps}.values())
    if {cap.pk for cap in caps} == set(task.hold.caps.values_list("pk", flat=True)):
        more = wanted - task.hold.open_amount
        if more > 0:
            extend(hold_id=task.hold_id, amount=more)
        elif more < 0:
            release(hold_id=task.hold_id, amount=-more)
        return
    release(hold_id=task.hold_id)
    task.hold = hold(
        balance=task.hold.balance,
        amount=wanted,
        key=f"task:{task.pk}:{attempt.pk}:{attempt.charged_parts}",
        purpose="task",
        ref=str(task.pk),
        caps=caps,
        spender=spender,
    )
    Task.objects.filter(pk=task.pk).update(hold=task.hold)


def _explained(task: Task, refused: DomainError) -> DomainError:
    if hasattr(refused, "cap"):
        return explain_cap(refused)  # type: ignore[arg-type]
    needed, available = getattr(refused, "needed", None), getattr(refused, "available", None)
    return refused if needed is None or available is None else shortage(task.funding, needed, available)


def _reckon(attempt: Attempt, now: datetime) -> None:
    """Note until when what is held lasts: time that the host did not count is not charged, so it comes on top."""
    heard = attempt.acked_at or attempt.started_at or now
    attempt.runs_out_at = heard + (attempt.limit_ms - attempt.metered_now) * _MS
    Attempt.objects.filter(pk=attempt.pk).update(runs_out_at=attempt.runs_out_at)


@retried
def _refused(*, task_id: UUID, why: str, now: datetime) -> None:
    """Tell once that the hold runs out; when it is used up and the agent goes on, have the task ended."""
    task, attempt = _running(task_id)
    if attempt is None or task.cancel_requested_at or task.complete_requested_at:
        return
    # The refusal took back what was reckoned; a host that stood still has more time left than was noted before.
    if attempt.metered_now < attempt.limit_ms:
        _reckon(attempt, now)
    ends_at = attempt.runs_out_at or now
    if task.hold_warned_at is None:
        reason = Reason(
            RUNS_OUT,
            f"What is held for it lasts until {ends_at:%Y-%m-%d %H:%M} UTC, then it ends. {why}",
            "It goes on if more can be held by then; this is tried again until it ends.",
        )
        _tell(task, attempt, reason, now)
    elif ends_at + AGENTS_CHANCE <= now:
        sentence = used_up(task)
        Task.objects.filter(pk=task.pk).update(
            failure_code=HOLD_USED_UP, failure_detail=sentence, failure_fault=Fault.USER
        )
        ask_host_to_stop(task, "cancel_requested_at", by=None, reason=sentence, now=now)
        record(action="task.end_unpaid", obj=task, by=None, before={"status": task.status}, reason=sentence, now=now)


def _tell_of_limit(*, task_id: UUID, now: datetime) -> None:
    """Tell once that a task comes to the limit that its submitter set, while something can still be saved."""
    with transaction.atomic():
        task, attempt = _running(task_id)
        if attempt is None or task.hold_warned_at is not None or task.is_open_ended:
            return
        _reckon(attempt, now)
        ends_at = attempt.runs_out_at or now
        if ends_at > now + _ahead():
            return
        detail = f"What is held for it lasts until {ends_at:%Y-%m-%d %H:%M} UTC: then its time is over and it ends."
        hint = "Have it save what it needs; its checkpoint is kept for a retry."
        _tell(task, attempt, Reason(RUNS_OUT, detail, hint), now)


def _running(task_id: UUID) -> tuple[Task, Attempt | None]:
    """Lock a task and give its running attempt."""
    tasks = Task.objects.select_for_update(no_key=True, of=("self",)).select_related("submitted_by", "account", "hold")
    task = tasks.get(pk=task_id)
    return task, task.attempts.filter(status=AttemptStatus.RUNNING).first()


def _tell(task: Task, attempt: Attempt, reason: Reason, now: datetime) -> None:
    task.hold_warned_at, task.waiting = now, reason.as_json()
    Task.objects.filter(pk=task.pk).update(hold_warned_at=now, waiting=task.waiting)
    task.note(by=None, reason=reason.detail, now=now)
    # Of what somebody left behind those hear who answer for the account.
    gone = submitter_gone(task) is not None
    for user in people_around(task.account) if gone else [task.submitted_by]:
        outbox.post(
            to=user.email,
            subject=f"{task.title}: what is held for it runs out",
            template="mail/hold_runs_out.txt",
            context={"task": task, "reason": reason, "user": user, "base_url": settings.BASE_URL},
            key=f"runs-out:{attempt.pk}:{task.limit_ms}" + (f":{user.pk}" if gone else ""),
        )


def _ahead() -> timedelta:
    return timedelta(seconds=settings.PROLONG_AHEAD_SECONDS)
