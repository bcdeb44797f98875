"""What webhooks are told of a task, and at which changes of its state: a plain module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gaas.outbox.choices import EventType
from tasks.choices import TaskStatus

if TYPE_CHECKING:
    from tasks.models import Task

S = TaskStatus
# Ends with a bill: told once it is written (tasks.services.settle).
SETTLED = frozenset({S.COMPLETED, S.FAILED, S.CANCELLED})
_BY_STATUS = {
    S.PENDING: EventType.TASK_SUBMITTED,
    S.APPROVED: EventType.TASK_APPROVED,
    S.REJECTED: EventType.TASK_REJECTED,
    S.PROCESSING: EventType.TASK_STARTED,
    S.COMPLETED: EventType.TASK_COMPLETED,
    S.FAILED: EventType.TASK_FAILED,
    S.CANCELLED: EventType.TASK_CANCELLED,
    S.EXPIRED: EventType.TASK_EXPIRED,
}
LONGEST_DETAIL = 1000


def event_of(old: str, new: str) -> EventType | None:
    """Name the event that a change of state is, if anybody is to be told: placing is the platform's own business."""
    if old == new or (old, new) == (S.ASSIGNED, S.APPROVED):
        return None
    if (old, new) == (S.PROCESSING, S.APPROVED):
        return EventType.TASK_REQUEUED
    return _BY_STATUS.get(S(new))


def news_of(task: Task) -> dict[str, Any]:
    """Give a task as it is now: what its API shows, without what it runs, its environment and its result."""
    failure = {
        "code": task.failure_code,
        "detail": task.failure_detail[:LONGEST_DETAIL],
        "fault": task.failure_fault,
    }
    return {
        "id": task.pk,
        "title": task.title,
        "kind": task.kind,
        "status": task.status,
        "funding": task.funding,
        "cost_code": task.cost_code,
        "submitted_by": task.submitted_by_id,
        "retry_of": task.retry_of_id,
        "exit_code": task.exit_code,
        "failure": failure if task.failure_code else None,
        "gpu_ms": task.gpu_ms,
        "cost_microusd": task.cost_microusd,
        "created_at": task.created_at,
        "approved_at": task.approved_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
    }
