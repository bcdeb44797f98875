"""The idle rule: who holds GPUs and does not use them is told, and then makes room.

Only from what GPUs measured: an attempt of which any GPU told no utilisation is never judged, so simulated
GPUs and MIG slices, which have none, are left alone.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from gaas.audit.services import record
from gaas.lib.errors import Conflict, NotAllowed
from gaas.outbox import services as outbox
from tasks.choices import AttemptStatus, Fault
from tasks.models import Attempt, Task
from tasks.services.stop import ask_host_to_stop

log = logging.getLogger("app")

BATCH = 100
# Without a measurement for so long nobody knows what the GPUs did meanwhile: the count begins anew.
BLIND = timedelta(minutes=5)
CODE = "idle"
FIELDS = ("idle_since", "idle_seen_at", "idle_warned_at")


def judge(attempt: Attempt, samples: dict[str, dict[str, float]], *, now: datetime) -> bool:
    """Note on an attempt, unsaved, since when all of its GPUs have done next to nothing; returns whether it changed."""
    if attempt.status != AttemptStatus.RUNNING:
        return False
    told = [samples.get(link.gpu.uuid, {}).get("utilisation") for link in attempt.gpu_links.all()]
    if not told or None in told:
        return False
    if max(value for value in told if value is not None) >= settings.IDLE_PERCENT:
        if attempt.idle_since is None:
            return False
        attempt.idle_since = attempt.idle_seen_at = attempt.idle_warned_at = None
        return True
    if attempt.idle_since is None or attempt.idle_seen_at is None or now - attempt.idle_seen_at > BLIND:
        attempt.idle_since, attempt.idle_warned_at = now, None
    attempt.idle_seen_at = now
    return True


def mend_idleness(*, now: datetime) -> None:
    """Warn the submitters of tasks that idle for IDLE_WARN_SECONDS, end those that do for IDLE_END_SECONDS."""
    if not settings.IDLE_END_SECONDS:
        return
    ends = now - timedelta(seconds=settings.IDLE_END_SECONDS)
    warns = now - timedelta(seconds=settings.IDLE_WARN_SECONDS)
    idle = Attempt.objects.filter(idle_seen_at__gt=now - BLIND)
    for attempt in idle.idle_before(ends).filter(idle_warned_at__isnull=False)[:BATCH]:
        _alone(_end, attempt, now)
    for attempt in idle.idle_before(warns).filter(idle_warned_at__isnull=True)[:BATCH]:
        _alone(_warn, attempt, now)


def allow_idle(task: Task, *, by: Any, reason: str, now: datetime) -> None:
    """Let a task keep GPUs that it does not use, as one that waits for people does. For staff who operate tasks."""
    if not by.has_perm("tasks.operate_task"):
        raise NotAllowed("Staff with the permission to operate tasks let one idle.")
    with transaction.atomic():
        if task.is_terminal or not Task.objects.live().filter(pk=task.pk, may_idle=False).update(may_idle=True):
            raise Conflict("This task has ended, or may idle already.", attr="status")
        task.may_idle = True
        task.note(by=by, reason=f"It may leave its GPUs idle: {reason}", now=now)
        record(action="task.allow_idle", obj=task, by=by, reason=reason, now=now)


def _alone(verb: Any, stale: Attempt, now: datetime) -> None:
    """Look again under the task's lock; if one fails the others must not wait for it."""
    try:
        with transaction.atomic():
            tasks = Task.objects.select_for_update(no_key=True, of=("self",)).select_related("submitted_by")
            task = tasks.get(pk=stale.task_id)
            attempt = Attempt.objects.select_related("host").get(pk=stale.pk)
            still = attempt.status == AttemptStatus.RUNNING and attempt.idle_since == stale.idle_since
            if still and not task.may_idle and not task.cancel_requested_at and not task.complete_requested_at:
                verb(attempt, task, now)
    except Exception:
        log.exception("the idle rule failed on task %s", stale.task_id)


def _warn(attempt: Attempt, task: Task, now: datetime) -> None:
    # Whoever is warned late still gets the whole time between the warning and the end.
    left = timedelta(seconds=settings.IDLE_END_SECONDS - settings.IDLE_WARN_SECONDS)
    since = max(attempt.idle_since or now, now - timedelta(seconds=settings.IDLE_WARN_SECONDS))
    Attempt.objects.filter(pk=attempt.pk, idle_since=attempt.idle_since).update(idle_warned_at=now, idle_since=since)
    sentence = (
        f"Its GPUs did next to nothing (under {settings.IDLE_PERCENT:g} %) for {_minutes(attempt, now)} minutes;"
        f" unless they do, it is ended in {left // timedelta(minutes=1)} minutes."
    )
    task.note(by=None, reason=sentence, now=now)
    _write(
        task,
        f"{task.title}: its GPUs are idle",
        sentence,
        f"idle:{attempt.pk}:{(attempt.idle_since or now).timestamp():.3f}",
        has_ended=False,
    )


def _end(attempt: Attempt, task: Task, now: datetime) -> None:
    sentence = (
        f"Ended: its GPUs did next to nothing (under {settings.IDLE_PERCENT:g} %) for {_minutes(attempt, now)}"
        " minutes. What ran is charged, the rest of what was held goes back."
    )
    Task.objects.filter(pk=task.pk).update(failure_code=CODE, failure_detail=sentence, failure_fault=Fault.USER)
    ask_host_to_stop(task, "cancel_requested_at", by=None, reason=sentence, now=now)
    record(action="task.end_idle", obj=task, by=None, before={"status": task.status}, reason=sentence, now=now)
    _write(task, f"{task.title}: ended, its GPUs were idle", sentence, f"idle-end:{attempt.pk}", has_ended=True)


def _minutes(attempt: Attempt, now: datetime) -> int:
    return (now - (attempt.idle_since or now)) // timedelta(minutes=1)


def _write(task: Task, subject: str, sentence: str, key: str, *, has_ended: bool) -> None:
    context = {"task": task, "sentence": sentence, "base_url": settings.BASE_URL, "has_ended": has_ended}
    to: UUID | str = task.submitted_by.email
    outbox.post(to=str(to), subject=subject, template="mail/idle.txt", context=context, key=key)
