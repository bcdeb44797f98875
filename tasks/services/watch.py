"""What a watcher of a task is shown: where it stands, what its program wrote, what happened to it.

Read for all watchers of a task at once (gaas.feeds). What changes a task, an attempt or its log hints at `task:<id>`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Max, OuterRef, Subquery
from django.db.models.functions import Now

from accounts.models import ApiKey, User
from gaas.lib.errors import DomainError
from tasks.choices import OPEN, TERMINAL, TaskStatus
from tasks.models import Attempt, Task, TaskEvent
from tasks.services.files import StorageAway
from tasks.services.log_archive import LogRemoved
from tasks.services.logs import read_log

EVENTS = 200
TAIL_BYTES = 16 * 1024

# Who watches what: a task, a user, and the API key by which they asked for the address, if by one.
Right = tuple[UUID, UUID, UUID | None]


@dataclass(frozen=True)
class Tried:
    """One attempt as a watcher sees it; `log_size` only ever grows."""

    id: UUID
    number: int
    status: str
    is_open: bool
    log_size: int
    progress: dict[str, Any] | None


@dataclass(frozen=True)
class Sight:
    """A task at one moment. `attempts` in the order of their numbers."""

    status: str
    is_cancelling: bool
    exit_code: int | None
    failure_code: str
    last_event: UUID | None
    attempts: tuple[Tried, ...]

    @property
    def is_over(self) -> bool:
        return self.status in TERMINAL

    def attempt(self, id_: UUID) -> Tried | None:
        return next((tried for tried in self.attempts if tried.id == id_), None)

    def after(self, id_: UUID) -> Tried | None:
        """Give the attempt that came next."""
        later = iter(self.attempts)
        for tried in later:
            if tried.id == id_:
                return next(later, None)
        return None

    def last_that_wrote(self) -> Tried | None:
        wrote = [tried for tried in self.attempts if tried.log_size] or self.attempts
        return wrote[-1] if wrote else None


def look(task_id: UUID) -> Sight | None:
    """See a task with its attempts; None when there is no such task (any more)."""
    fields = ("status", "cancel_requested_at", "exit_code", "failure_code")
    # The attempts last: what ended by then has all of its log, whatever the task's own row said a moment ago.
    last = TaskEvent.objects.filter(task=OuterRef("pk")).order_by("-id").values("id")[:1]
    task = Task.objects.filter(pk=task_id).annotate(last_event=Subquery(last)).values(*fields, "last_event").first()
    if task is None:
        return None
    rows = Attempt.objects.filter(task_id=task_id).order_by("epoch")
    attempts = tuple(
        Tried(id_, number, status, status in OPEN, size, progress)
        for id_, number, status, size, progress in rows.values_list("id", "epoch", "status", "log_size", "progress")
    )
    return Sight(
        status=task["status"],
        is_cancelling=task["cancel_requested_at"] is not None and task["status"] not in TERMINAL,
        exit_code=task["exit_code"],
        failure_code=task["failure_code"],
        last_event=task["last_event"],
        attempts=attempts,
    )


def live_context(task: Task) -> dict[str, Any]:
    """Say what a page needs to go on from where it was made (templates/tasks/live.html)."""
    attempt = task.attempts.filter(log_size__gt=0).order_by("-epoch").first()
    return {
        "task": task,
        "labels": TaskStatus.choices,
        "after": task.events.order_by("-id").values_list("id", flat=True).first() or "",
        "tail": tail_of(attempt, TAIL_BYTES) if attempt else "",
    }


def tail_of(attempt: Attempt, most: int) -> str:
    """Give the end of a log as text; where it cannot be had, a notice that says why."""
    try:
        data = read_log(attempt, offset=max(0, attempt.log_size - most), limit=most)
    except (LogRemoved, StorageAway) as error:
        return notice(error)
    return data.decode("utf-8", "replace")


def notice(error: DomainError) -> str:
    """Say in a log's place why it is not there."""
    return f"[gaas: {error}]\n"


def piece_of_log(attempt_id: UUID, offset: int, limit: int) -> bytes:
    """Give up to `limit` bytes of an attempt's log."""
    return read_log(Attempt.objects.get(pk=attempt_id), offset=offset, limit=limit)


def events_after(task_id: UUID, event_id: UUID | None) -> list[TaskEvent]:
    """Give what happened to a task since an event, the oldest first."""
    events = TaskEvent.objects.filter(task_id=task_id).order_by("id")
    return list((events.filter(id__gt=event_id) if event_id else events)[:EVENTS])


def seen_still(rights: Collection[Right]) -> set[Right]:
    """Keep the rights of which the user, still active, sees the task, and the key, if by one, is still good.

    A few queries for each user, and one for all keys.
    """
    wanted: dict[UUID, dict[UUID | None, set[UUID]]] = {}
    for task_id, user_id, key_id in rights:
        wanted.setdefault(user_id, {}).setdefault(key_id, set()).add(task_id)
    named = {key_id for _, _, key_id in rights if key_id is not None}
    live = ApiKey.objects.live(now=Now()).filter(pk__in=named).select_related("account") if named else ()
    keys = {key.pk: key for key in live}
    seen = set()
    for user in User.objects.filter(pk__in=wanted, is_active=True):
        for key_id, task_ids in wanted[user.pk].items():
            user.through = keys.get(key_id) if key_id is not None else None
            if key_id is not None and (user.through is None or user.through.user_id != user.pk):
                continue
            tasks = Task.objects.visible_to(user).filter(pk__in=task_ids)
            seen |= {(task_id, user.pk, key_id) for task_id in tasks.values_list("pk", flat=True)}
    return seen


def last_changes(task_ids: Collection[UUID]) -> Iterable[tuple[UUID, tuple[datetime, datetime | None]]]:
    """Give for each task when it and its attempts were last written, to find what a lost wake hid."""
    tasks = Task.objects.filter(pk__in=task_ids).annotate(tried=Max("attempts__updated_at"))
    for id_, updated_at, tried in tasks.values_list("id", "updated_at", "tried"):
        yield id_, (updated_at, tried)
