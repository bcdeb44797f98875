"""One sync of a host: what it holds comes in, what it should hold goes out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from accounts.services import registry_login
from gaas.lib import tickets
from gaas.lib.errors import IllegalTransition
from gaas.lib.sealed import Unsealable
from gaas.lib.wake import hint
from gpus.agent import protocol as wire
from gpus.agent.images import registry_of
from gpus.executors import executor_for
from gpus.models import Host
from gpus.services import SyncReport, hear
from tasks import kinds
from tasks.choices import OPEN, AttemptStatus, Fault
from tasks.models import Attempt, Task
from tasks.outcome import SECRETS_UNREADABLE, WINDOW_CLOSED
from tasks.services import curves, idle
from tasks.services.artifacts import checkpoints_of
from tasks.services.attempts import close
from tasks.services.prolong import is_due
from tasks.services.wakes import prolong_soon, schedule_soon

UNSTARTED = {AttemptStatus.OFFERED, AttemptStatus.PREPARING}


@dataclass(frozen=True)
class Held:
    """What an agent says of one attempt that it holds."""

    id: UUID
    epoch: int
    state: str
    elapsed_ms: int
    log_offset: int
    progress: dict | None
    phase: dict | None = None


def sync(*, host: Host, report: SyncReport, held: list[Held], now: datetime) -> wire.SyncAnswer:
    """Take a host's report and answer what it should be running.

    1. Session, lease, inventory: a transaction of its own, which commits before any task is locked.
    2. What the old boot, or an agent that lost its memory, no longer holds is voided at once; an offer that
    it never took ends where its task is being cancelled.
    3. What it holds is acknowledged. 4. The answer: the open attempts, and stops for what else it reported.
    Raises SessionConflict, StaleSequence and the other refusals of `hear`.
    """
    heard = hear(host=host, report=report, now=now)
    if heard.is_back or heard.changed_gpus:
        schedule_soon()
    attempts = list(_open_attempts(host))
    known = {(item.id, item.epoch) for item in held}
    gone = _gone(attempts, known, report, is_new_boot=heard.is_new_boot)
    declined = [
        attempt
        for attempt in attempts
        if attempt.status == AttemptStatus.OFFERED
        and attempt.task.cancel_requested_at is not None
        and (attempt.pk, attempt.epoch) not in known
    ]
    secrets, unreadable = _open_secrets(attempts)
    if gone or declined or unreadable:
        _void(gone, heard.is_new_boot, now)
        for attempt in unreadable:
            _close_open(
                attempt,
                UNSTARTED,
                status=AttemptStatus.REFUSED,
                fault=Fault.PLATFORM,
                code=SECRETS_UNREADABLE,
                detail="The platform's key has changed, so this task's secrets cannot be read: submit it anew.",
                now=now,
            )
        for attempt in declined:
            _close_open(
                attempt,
                {AttemptStatus.OFFERED},
                status=AttemptStatus.CANCELLED,
                fault=Fault.NONE,
                code="cancelled",
                detail="The host had not taken it.",
                now=now,
            )
        attempts = list(_open_attempts(host))
    _acknowledge(attempts, held, heard.samples, now)
    return _answer(host, attempts, held, heard.warnings, secrets, now)


def _open_secrets(attempts: list[Attempt]) -> tuple[dict[UUID, dict[str, str]], list[Attempt]]:
    """Read what programs that are yet to start must be given; name the attempts whose secrets cannot be read.

    Not for those that run: their agents keep what they were given.
    """
    opened, unreadable = {}, []
    for attempt in attempts:
        if attempt.status in UNSTARTED:
            try:
                opened[attempt.pk] = attempt.task.open_secrets()
            except Unsealable:
                unreadable.append(attempt)
    return opened, unreadable


def _open_attempts(host: Host) -> QuerySet[Attempt]:
    return Attempt.objects.open().filter(host=host).select_related("task").prefetch_related("gpu_links__gpu")


def _gone(
    attempts: list[Attempt], known: set[tuple[UUID, int]], report: SyncReport, *, is_new_boot: bool
) -> list[Attempt]:
    """Find what the host cannot be running any more.

    After a new boot that is everything which was begun on the old one. Else it is what was started and is
    missing from a report that was made after the start: a later seq, or another life of the agent; and what
    an earlier report held in preparation, unless this report was itself overtaken by that one.
    """
    if is_new_boot:
        return [attempt for attempt in attempts if attempt.status != AttemptStatus.OFFERED]
    missing = [attempt for attempt in attempts if (attempt.pk, attempt.epoch) not in known]
    prepared = [attempt for attempt in missing if attempt.status == AttemptStatus.PREPARING]
    if prepared and not Host.objects.filter(pk=prepared[0].host_id, session=report.session, seq=report.seq).exists():
        prepared = []
    return prepared + [
        attempt
        for attempt in missing
        if attempt.status == AttemptStatus.RUNNING
        and (attempt.started_session != report.session or (attempt.started_seq or 0) < report.seq)
    ]


def _void(gone: list[Attempt], is_new_boot: bool, now: datetime) -> None:
    detail = "The host was restarted." if is_new_boot else "The agent holds it no more: its state was lost."
    for stale in gone:
        _close_open(
            stale,
            OPEN,
            status=AttemptStatus.LOST,
            fault=Fault.HOST,
            code="host_restarted" if is_new_boot else "agent_lost_state",
            detail=detail,
            now=now,
        )


def _close_open(stale: Attempt, still: Collection[str], *, now: datetime, **how: Any) -> None:
    """Look again under the task's lock, then close; metered to the last acknowledged sync."""
    with transaction.atomic():
        task = (
            Task.objects.select_for_update(no_key=True, of=("self",))
            .select_related("hold", "account")
            .get(pk=stale.task_id)
        )
        attempt = Attempt.objects.get(pk=stale.pk)
        if attempt.status in still:
            close(attempt, task, until=attempt.acked_at or now, now=now, **how)


def _acknowledge(
    attempts: list[Attempt], held: list[Held], samples: dict[str, dict[str, float]], now: datetime
) -> None:
    """Write that the host holds these: one UPDATE for all, the move of those newly taken, and points of curves."""
    reported = {(item.id, item.epoch): item for item in held}
    changed, progressed, points, is_judged, is_queued = [], [], [], False, False
    for attempt in attempts:
        item = reported.get((attempt.pk, attempt.epoch))
        if item is None:
            continue
        if attempt.status == AttemptStatus.OFFERED:
            try:
                attempt.take(now=now)
            except IllegalTransition:
                # The sweep withdrew the offer a moment ago; the next answer tells the agent to discard it.
                continue
        attempt.acked_at = now
        attempt.updated_at = now
        attempt.elapsed_ms = max(attempt.elapsed_ms, item.elapsed_ms)
        if item.progress is not None and item.progress != attempt.progress:
            progressed.append(attempt.task_id)
            attempt.progress = item.progress
            points.append(curves.point_of(attempt, item.progress, now=now))
        progressed += [attempt.task_id] if item.phase != attempt.phase else []
        attempt.phase = item.phase
        if item.phase is not None and item.phase.get("queued") and attempt.status == AttemptStatus.PREPARING:
            # In a queue that is not the host's own, it prepares nothing yet.
            attempt.prepared_from, is_queued = now, True
        is_judged |= idle.judge(attempt, samples, now=now)
        if is_due(attempt):
            prolong_soon(attempt.task_id)
        changed.append(attempt)
    if changed:
        fields = ["acked_at", "updated_at", "elapsed_ms", "progress", "phase", *(idle.FIELDS if is_judged else ())]
        fields += ["prepared_from"] if is_queued else []
        Attempt.objects.open().bulk_update(changed, fields)
    if said := [point for point in points if point is not None]:
        curves.keep_points(said)
    for task_id in progressed:
        hint(f"task:{task_id}")


def _answer(
    host: Host,
    attempts: list[Attempt],
    held: list[Held],
    warnings: list[str],
    secrets: dict[UUID, dict[str, str]],
    now: datetime,
) -> wire.SyncAnswer:
    run, stop, known = [], [], set()
    # Only what has not started needs to know of its files, and only what ran before has a checkpoint.
    again = [attempt.task for attempt in attempts if attempt.status in UNSTARTED and attempt.epoch > 1]
    checkpoints = checkpoints_of(again) if again else {}
    for attempt in attempts:
        known.add((attempt.pk, attempt.epoch))
        task = attempt.task
        if task.cancel_requested_at or task.complete_requested_at:
            reason = "cancelled" if task.cancel_requested_at else "completed"
            stop.append(_stop(attempt.pk, attempt.epoch, wire.STOP, reason))
        elif attempt.stop_at is not None and attempt.stop_at <= now:
            stop.append(_stop(attempt.pk, attempt.epoch, wire.STOP, WINDOW_CLOSED))
        else:
            run.append(_assignment(attempt, host, secrets.get(attempt.pk, {}), checkpoints.get(task.pk, [])))
    stop += [
        _stop(item.id, item.epoch, wire.DISCARD, "lease_lost") for item in held if (item.id, item.epoch) not in known
    ]
    ticket = tickets.issue(purpose="wait", subject=str(host.pk))
    return wire.SyncAnswer(
        revision=host.revision,
        attempts=run,
        stop=stop,
        timers=wire.Timers(
            lease_seconds=settings.LEASE_SECONDS,
            fence_seconds=settings.LEASE_SECONDS + settings.RECONNECT_SECONDS - settings.FENCE_MARGIN_SECONDS,
            sync_busy_seconds=settings.SYNC_BUSY_SECONDS,
            sync_idle_seconds=settings.SYNC_IDLE_SECONDS,
            wait_seconds=settings.WAIT_SECONDS,
        ),
        wait_url=f"{settings.LIVE_URL}/api/agent/v1/wait?{urlencode({'host': host.pk})}",
        ticket=ticket,
        warnings=warnings,
        host_status=host.status,
        relays=[_relay(attempt) for attempt in attempts if _serves(attempt)],
    )


def _assignment(
    attempt: Attempt, host: Host, secrets: dict[str, str], checkpoint: list[dict[str, Any]]
) -> wire.Assignment:
    task = attempt.task
    inputs = task.inputs if attempt.status in UNSTARTED else []
    return wire.Assignment(
        id=str(attempt.pk),
        epoch=attempt.epoch,
        task_id=str(task.pk),
        title=task.title,
        kind=task.kind,
        executor=executor_for(task.executor, host.executors) or task.executor,
        payload=kinds.get(task.kind).attempt_payload(task),
        env=task.env,
        secrets=secrets,
        registry=_registry(attempt),
        gpu_uuids=[link.gpu.uuid for link in attempt.gpu_links.all()],
        limit_ms=attempt.limit_ms,
        grace_ms=int(settings.CANCEL_GRACE_SECONDS * 1000),
        log_offset=attempt.log_size,
        max_log_bytes=settings.MAX_LOG_BYTES,
        inputs=[wire.FileToFetch(entry["file"], entry["path"], entry["size"], entry["sha256"]) for entry in inputs],
        checkpoint=[wire.FileToFetch(**entry) for entry in checkpoint],
        max_artifacts=settings.MAX_ARTIFACTS,
        max_file_bytes=settings.MAX_FILE_MIB * 1024 * 1024,
        checkpoint_seconds=settings.CHECKPOINT_SECONDS,
        open_ended=task.is_open_ended,
    )


def _serves(attempt: Attempt) -> bool:
    return attempt.status == AttemptStatus.RUNNING and "serve" in attempt.task.spec


def _relay(attempt: Attempt) -> wire.RelayOrder:
    """Tell where an agent holds the WebSocket of an attempt that serves."""
    return wire.RelayOrder(
        id=str(attempt.pk),
        epoch=attempt.epoch,
        url=f"{settings.LIVE_URL}/api/agent/v1/relay/{attempt.pk}",
        ticket=tickets.issue(purpose="relay", subject=f"{attempt.pk}:{attempt.epoch}:{attempt.host_id}"),
    )


def _registry(attempt: Attempt) -> dict[str, str] | None:
    """Give the log-in for the image's registry to the host that is to pull it, until the program has started."""
    image = attempt.task.spec.get("image")
    if attempt.status not in UNSTARTED or not isinstance(image, str):
        return None
    try:
        return registry_login(account=attempt.task.account, server=registry_of(image))
    except Unsealable:
        return None  # the registry will say what is missing


def _stop(id_: UUID, epoch: int, verdict: str, reason: str) -> wire.Stop:
    return wire.Stop(
        id=str(id_), epoch=epoch, verdict=verdict, reason=reason, grace_ms=int(settings.CANCEL_GRACE_SECONDS * 1000)
    )
