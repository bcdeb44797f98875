"""Cancel and complete: a person ends a task before its program does."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from django.db import transaction

from accounts.choices import Role
from gaas.audit.services import record
from gaas.lib.errors import Conflict, NotAllowed
from gpus.services import wake_hosts
from tasks.choices import ON_A_HOST, OPEN, TERMINAL, StepStatus, TaskStatus
from tasks.models import Task
from tasks.services.settle import settle

if TYPE_CHECKING:
    from accounts.models import User


def cancel(task: Task, *, by: User, reason: str = "", now: datetime) -> Task:
    """End a task: at once where nothing runs, else once its host says that no process is left.

    Before a program started it is free; what ran is charged. Raises NotAllowed, Conflict `wrong_state` for a
    task that has ended, is being cancelled, or was decided by somebody else since the caller read it.
    """
    if not _may_cancel(task, by):
        raise NotAllowed("Its submitter, a manager of its account or staff with that permission cancel a task.")
    with transaction.atomic():
        read_as = task.status
        _lock(task)
        if task.status in TERMINAL or (read_as == TaskStatus.PENDING and task.status != read_as):
            raise _changed(task)
        if task.cancel_requested_at is not None:
            raise Conflict(
                f"It is being cancelled since {task.cancel_requested_at:%Y-%m-%d %H:%M:%S} UTC.", attr="status"
            )
        before = {"status": task.status}
        if task.status in ON_A_HOST:
            ask_host_to_stop(task, "cancel_requested_at", by=by, reason=reason or "Cancel asked for.", now=now)
        else:
            task.cancel(by=by, reason=reason, now=now)
            task.approval_steps.filter(status=StepStatus.PENDING).update(status=StepStatus.VOID)
            settle(task, now=now)
        record(
            action="task.cancel",
            obj=task,
            by=by,
            before=before,
            after={"status": task.status, "cancelling": task.is_cancelling},
            reason=reason,
            now=now,
        )
    return task


def complete(task: Task, *, by: User, reason: str, now: datetime) -> Task:
    """Have staff end a running task as done: its program is stopped, what was metered is charged.

    Raises NotAllowed without the permission, Conflict unless the task is PROCESSING and not being ended.
    """
    if not by.has_perm("tasks.operate_task"):
        raise NotAllowed("Staff with the permission to operate tasks complete them.")
    with transaction.atomic():
        _lock(task)
        if task.status != TaskStatus.PROCESSING:
            raise _changed(task)
        if task.cancel_requested_at or task.complete_requested_at:
            raise Conflict("It is being ended already.", attr="status")
        ask_host_to_stop(task, "complete_requested_at", by=by, reason=reason or "Completed by staff.", now=now)
        record(action="task.complete", obj=task, by=by, before={"status": task.status}, reason=reason, now=now)
    return task


def _may_cancel(task: Task, by: User) -> bool:
    if by.has_perm("tasks.operate_task"):
        return True
    role = task.account.role_of(by)
    return role is not None and (role >= Role.MANAGER or (task.submitted_by_id == by.pk and role >= Role.MEMBER))


def _lock(task: Task) -> None:
    stored = Task.objects.select_for_update(no_key=True).get(pk=task.pk)
    task.status, task.epoch = stored.status, stored.epoch
    task.cancel_requested_at, task.complete_requested_at = stored.cancel_requested_at, stored.complete_requested_at


def ask_host_to_stop(task: Task, field: str, *, by: User | None, reason: str, now: datetime) -> None:
    """Note that its program is to end, and wake the host that runs it; the caller locked the task."""
    Task.objects.filter(pk=task.pk).update(**{field: now})
    setattr(task, field, now)
    task.note(by=by, reason=reason, now=now)
    wake_hosts(list(task.attempts.filter(status__in=OPEN).values_list("host_id", flat=True)))


def _changed(task: Task) -> Conflict:
    last = task.events.order_by("-id").first()
    since = f" since {last.at:%Y-%m-%d %H:%M:%S} UTC, by {last.by_label}" if last else ""
    return Conflict(f"This task is {task.status}{since}.", attr="status")
