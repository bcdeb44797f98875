"""Approve or reject: a person's decision, bound to the task's hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction

from accounts.ledger.services import release
from gaas.audit.services import record
from gaas.lib.errors import Conflict, DomainError, IllegalTransition, NotAllowed
from tasks.choices import StepKind, StepStatus, TaskStatus
from tasks.funding import RULES
from tasks.models import ApprovalStep, Task
from tasks.services.wakes import schedule_soon

if TYPE_CHECKING:
    from accounts.models import User


def approve(
    task: Task,
    *,
    by: User,
    reason: str = "",
    limit_ms: int | None = None,
    priority: int | None = None,
    step: ApprovalStep | None = None,
    now: datetime,
) -> Task:
    """Decide the caller's step with yes; without a step left the task joins the queue.

    `limit_ms` (not more than asked) and `priority` set what the task may use; the hold's rest goes back. `step`
    names the one to decide, so that who holds several decides no other by a second click.

    1. Lock the task. 2. Who may, and is there a step to decide. 3. Fewer hours: shrink the hold. 4. Decide the
    step. 5. Last one: APPROVED, audit, wake the matcher. Locks: task → hold → balance.
    Raises NotAllowed (also `own_task`), Conflict `wrong_state` that names who decided and when.
    """
    with transaction.atomic():
        step = _lock(task, by, step)
        if priority is not None and step.kind != StepKind.STAFF and not by.has_perm("tasks.approve_task"):
            raise NotAllowed("A priority is given by staff.", attr="priority")
        if limit_ms is not None:
            _shrink(task, limit_ms)
        if priority is not None:
            Task.objects.filter(pk=task.pk).update(priority=priority)
            task.priority = priority
        before = {"status": task.status}
        if not _moved(step.approve, task, by=by, reason=reason, now=now):
            raise _decided(task)
        if not task.approval_steps.filter(status=StepStatus.PENDING).exists():
            task.approve(by=by, reason=reason, now=now)
            schedule_soon()
        record(
            action="task.approve",
            obj=task,
            by=by,
            before=before,
            after={"status": task.status, "limit_ms": task.limit_ms, "priority": task.priority},
            reason=reason,
            now=now,
        )
    return task


def reject(task: Task, *, by: User, reason: str, step: ApprovalStep | None = None, now: datetime) -> Task:
    """Decide the caller's step with no: the task ends REJECTED and its whole hold goes back.

    Raises DomainError without a reason, NotAllowed (also `own_task`), Conflict `wrong_state`.
    """
    if not reason.strip():
        raise DomainError("Say why: the submitter sees it.", code="required", attr="reason")
    with transaction.atomic():
        step = _lock(task, by, step)
        before = {"status": task.status}
        if not _moved(step.reject, task, by=by, reason=reason, now=now):
            raise _decided(task)
        task.reject(by=by, reason=reason, now=now)
        task.approval_steps.filter(status=StepStatus.PENDING).update(status=StepStatus.VOID)
        release(hold_id=task.hold_id)
        record(
            action="task.reject",
            obj=task,
            by=by,
            before=before,
            after={"status": task.status},
            reason=reason,
            now=now,
        )
    return task


def _lock(task: Task, by: User, named: ApprovalStep | None) -> ApprovalStep:
    """Lock the task, read what a decision goes by as it is now, and give the step that waits for `by`."""
    read_as = task.status
    fields = ["status", "limit_ms", "priority"]
    task.refresh_from_db(fields=fields, from_queryset=Task.objects.select_for_update(no_key=True))
    own = task.approval_steps.filter(status=StepStatus.PENDING).select_related("account").order_by("position")
    waiting = list(own) if read_as == task.status == TaskStatus.PENDING else []
    if not waiting and not _decides_some(task, by):
        raise NotAllowed("Staff with the permission to approve tasks decide this step.")
    if waiting and named is not None and all(step.pk != named.pk for step in waiting):
        raise Conflict(_how_decided(named), attr="status")
    mine = next((s for s in waiting if s.is_for(by) and (named is None or s.pk == named.pk)), None)
    if waiting and mine is None:
        raise NotAllowed(_who_decides(named or waiting[0]))
    if task.submitted_by_id == by.pk and not by.is_superuser:
        raise NotAllowed("Nobody decides on a task of their own; ask a colleague.", code="own_task")
    if mine is None:
        raise _decided(task)
    if mine.pk != waiting[0].pk:
        raise Conflict(f"Your step comes later. {_who_decides(waiting[0])}", attr="status")
    return mine


def _decides_some(task: Task, by: User) -> bool:
    return any(step.is_for(by) for step in task.approval_steps.select_related("account"))


def _who_decides(step: ApprovalStep) -> str:
    if step.kind == StepKind.STAFF:
        return "Staff with the permission to approve tasks decide this step."
    return step.why


def _how_decided(step: ApprovalStep) -> str:
    step.refresh_from_db()
    if step.decided_by is None or step.decided_at is None:
        return f"This step is {step.status}."
    return f"This step is {step.status} since {step.decided_at:%Y-%m-%d %H:%M:%S} UTC, by {step.decided_by.email}."


def _moved(verb: Callable[..., bool], task: Task, **how: Any) -> bool:
    try:
        return verb(**how)
    except IllegalTransition:
        raise _decided(task) from None


def _shrink(task: Task, limit_ms: int) -> None:
    if task.is_open_ended:
        raise DomainError("This task goes on until it is ended: it has no hours to approve fewer of.", attr="hours")
    if not 0 < limit_ms <= task.limit_ms:
        raise DomainError("Approve hours above 0, and not more than was asked for.", attr="hours")
    if limit_ms == task.limit_ms:
        return
    rule = RULES[task.funding]
    held, now_held = (
        rule.to_hold(gpus=task.gpus, limit_ms=ms, price_ceiling=task.max_price_per_hour)
        for ms in (task.limit_ms, limit_ms)
    )
    if held > now_held:
        release(hold_id=task.hold_id, amount=held - now_held)
    Task.objects.filter(pk=task.pk).update(limit_ms=limit_ms)
    task.limit_ms = limit_ms


def _decided(task: Task) -> Conflict:
    """Tell who decided before and when, however far the task has come since."""
    decision = task.events.filter(from_status=TaskStatus.PENDING).exclude(to_status=TaskStatus.PENDING).first()
    what = f"it is {task.status}"
    if decision:
        when = f"{decision.at:%Y-%m-%d %H:%M:%S} UTC, by {decision.by_label}"
        what += (
            f" since {when}"
            if task.status == decision.to_status
            else f", after it became {decision.to_status} at {when}"
        )
    return Conflict(f"This task is not waiting for approval: {what}.", attr="status")
