"""What a host says about one attempt: it starts, it ended. Every write is fenced by (id, host, epoch, open)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Count

from gaas.lib.errors import DomainError
from gaas.lib.retry import retried
from gpus.models import Host
from gpus.services import note_failure, note_overclaim, note_success
from tasks.choices import AttemptStatus, Fault, TaskStatus
from tasks.meter import is_overclaim, metered_ms
from tasks.models import Attempt, Task
from tasks.outcome import INPUT_CORRUPT, Ended, Next, decide, is_charged
from tasks.services.listed import Named, require_artifacts
from tasks.services.log_check import must_be_sent_again
from tasks.services.settle import settle
from tasks.services.wakes import schedule_soon


class LeaseLost(DomainError):
    """State that this attempt is not this host's to write, now or ever again; its program must end."""

    status = 409
    code = "lease_lost"


class AlreadyFinished(DomainError):
    """State that this attempt ended before, and otherwise."""

    status = 409
    code = "already_finished"


class LogIncomplete(DomainError):
    """State that bytes of the log are missing; send them, or name `log_lost_from`."""

    status = 409
    code = "log_incomplete"


class StopRequested(DomainError):
    """State that the task is being cancelled, so that its program must not start."""

    status = 409
    code = "stop_requested"


# Ends by the host's fault that say nothing against it: what was asked for does not go anywhere, it was announced,
# or it is rather the platform that has a file wrong: tasks with that file would drain one host after the other.
_NOT_ITS_FAILURE = frozenset({"bad_payload", "executor", "agent_stopped", "host_shutdown", "cancelled", INPUT_CORRUPT})

# How what goes on ends that nobody can pay for any longer.
HOLD_USED_UP = "hold_used_up"

# What an end is called where the agent gives it no name.
_CODES: dict[str, str] = {AttemptStatus.FAILED: "exit_code", AttemptStatus.TIMED_OUT: "time_limit"}


@dataclass(frozen=True)
class Report:
    """How an attempt ended, as its agent tells it. Times in milliseconds of the agent's own clock."""

    epoch: int
    outcome: str
    fault: str
    exit_code: int | None
    code: str
    detail: str
    elapsed_ms: int
    log_size: int
    log_sha256: str
    result: Any = None
    log_lost_from: int | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    artifacts: tuple[Named, ...] = ()
    files_note: str = ""


@retried
def start(*, attempt_id: UUID, host: Host, epoch: int, session: UUID, seq: int, now: datetime) -> int:
    """Permit the program to start and return the milliseconds it has; the commit of RUNNING begins the charge.

    The same question again by the same session is no second start (its answer was lost), and the program has all of
    its time still: the limit counts from its own start. Raises LeaseLost, or StopRequested while the task is being
    ended.
    """
    attempt, task = _lock(attempt_id, host, epoch)
    if attempt.status == AttemptStatus.RUNNING:
        if attempt.started_session != session:
            raise LeaseLost("Another life of this agent started it; what it knew is gone.")
        return attempt.limit_ms
    if task.cancel_requested_at or task.complete_requested_at:
        raise StopRequested("The task is being cancelled; do not start it.")
    if attempt.status == AttemptStatus.OFFERED:
        attempt.take(now=now)
    attempt.start(session=session, seq=seq, now=now)
    task.start(by=host, now=now)
    return attempt.limit_ms


def finish(*, attempt_id: UUID, host: Host, report: Report, now: datetime) -> Task:
    """End an attempt as its agent says, decide what becomes of the task, and settle if that is its end.

    Idempotent: the same outcome again is answered as the first was; another one is AlreadyFinished. Raises
    LeaseLost for an attempt that was given up, LogIncomplete until the log is whole and has the SHA-256 that is
    named, ArtifactsIncomplete until the files that it lists are. A log that is another is dropped in a transaction
    of its own, to be sent again.
    """
    is_comparable = report.log_sha256 != "" and report.log_lost_from is None and report.log_size > 0
    if is_comparable and must_be_sent_again(
        attempt_id=attempt_id,
        host=host,
        epoch=report.epoch,
        size=report.log_size,
        sha256=report.log_sha256,
        now=now,
    ):
        raise LogIncomplete("What is here of the log has another SHA-256: send it again from the beginning.")
    return _finish(attempt_id=attempt_id, host=host, report=report, now=now)


@retried
def _finish(*, attempt_id: UUID, host: Host, report: Report, now: datetime) -> Task:
    attempt, task = _lock(attempt_id, host, report.epoch, ended=True)
    if not attempt.is_open:
        if attempt.status == AttemptStatus.LOST:
            raise LeaseLost("This attempt was given up while the host was not heard.")
        if (attempt.status, attempt.exit_code) == (_legal_end(attempt, report.outcome), report.exit_code):
            return task
        raise AlreadyFinished(f"This attempt ended {attempt.status} with exit code {attempt.exit_code}.")
    log_end = report.log_size if report.log_lost_from is None else min(report.log_lost_from, report.log_size)
    if attempt.log_size < log_end:
        raise LogIncomplete(f"{attempt.log_size} of {report.log_size} bytes are here: send the rest.")
    require_artifacts(attempt, report.artifacts)
    status = _legal_end(attempt, report.outcome)
    close(
        attempt,
        task,
        status=status,
        fault=_believed_fault(status, report.outcome, report.fault, task),
        code=report.code or _CODES.get(status, ""),
        detail=report.detail,
        until=now,
        now=now,
        by=host,
        elapsed_ms=report.elapsed_ms,
        exit_code=report.exit_code,
        result=report.result,
        usage=report.usage,
        log_sha256=report.log_sha256,
        log_lost_from=report.log_lost_from,
        files_note=report.files_note,
    )
    if attempt.fault in (Fault.USER, Fault.NONE):
        note_success(host)
    return task


def close(
    attempt: Attempt,
    task: Task,
    *,
    status: str,
    fault: str,
    code: str,
    detail: str,
    until: datetime,
    now: datetime,
    by: object | None = None,
    elapsed_ms: int | None = None,
    exit_code: int | None = None,
    result: Any = None,
    **facts: Any,
) -> None:
    """End an open attempt and move its task on; the caller locked the task.

    `until` bounds what is metered: the finish, or the last acknowledged sync of a host that was lost.
    1. Meter. 2. Close the attempt, which frees its GPUs. 3. Decide the task's next state. 4. At its end
    settle. 5. Hold against the host what was its fault, and that it claimed more time than went by. 6. Wake the
    matcher: GPUs are free, or the task is back in the queue.
    """
    had_started = attempt.started_at is not None
    elapsed = attempt.elapsed_ms if elapsed_ms is None else elapsed_ms
    metered = metered_ms(elapsed_ms=elapsed, started_at=attempt.started_at, until=until, limit_ms=attempt.limit_ms)
    # What was charged while it ran was metered then, whatever a meter that goes backwards says by now.
    metered = max(metered, attempt.charged_ms)
    if task.is_open_ended and task.hold_warned_at is not None and status == AttemptStatus.TIMED_OUT:
        code, detail = HOLD_USED_UP, used_up(task)
    attempt.end(
        status,
        fault=fault,
        now=now,
        elapsed_ms=elapsed,
        metered_ms=metered,
        exit_code=exit_code,
        failure_code=code,
        failure_detail=detail,
        **facts,
    )
    charged_now = metered if is_charged(status, fault, had_started=had_started) else attempt.charged_ms
    was_closed = attempt.stop_at is not None and attempt.stop_at <= now and status == AttemptStatus.CANCELLED
    chosen = decide(
        Ended(
            status=status,
            fault=fault,
            code=code,
            detail=detail,
            had_started=had_started,
            cancel_requested=task.cancel_requested_at is not None,
            complete_requested=task.complete_requested_at is not None,
            infra_failures=task.infra_failures,
            user_failures=task.user_failures,
            retries=task.retries,
            infra_retries=settings.INFRA_RETRIES,
            time_left_ms=attempt.limit_ms - charged_now,
            hosts_lost=_hosts_lost(task) if status == AttemptStatus.LOST and had_started else 0,
            **(_spoilt(task) if code == INPUT_CORRUPT and status == AttemptStatus.REFUSED else {}),
            poison_hosts=settings.POISON_HOSTS,
            was_closed=was_closed,
        )
    )
    _move_on(task, chosen, by=by, exit_code=exit_code, result=result, now=now)
    is_loss = status == AttemptStatus.LOST
    if is_loss or (fault == Fault.HOST and code not in _NOT_ITS_FAILURE and not was_closed):
        note_failure(
            host_id=attempt.host_id,
            task_id=task.pk,
            is_loss=is_loss,
            offered_at=attempt.offered_at,
            sentence=detail or code,
            now=now,
        )
    if had_started and is_overclaim(elapsed_ms=elapsed, started_at=attempt.started_at, until=until):
        about = {"attempt": str(attempt.pk), "claimed_ms": elapsed, "metered_ms": metered}
        note_overclaim(host_id=attempt.host_id, about=about, now=now)
    schedule_soon()


def used_up(task: Task) -> str:
    """Say why what goes on has to end: its hold is used up, and was not prolonged for the reason that was told."""
    return f"What was held for it is used up. {(task.waiting or {}).get('detail', '')}".strip()


def _hosts_lost(task: Task) -> int:
    """Count the different hosts that were lost while this task ran on them."""
    lost = task.attempts.filter(status=AttemptStatus.LOST, started_at__isnull=False)
    return lost.order_by().values("host").distinct().count()


def _spoilt(task: Task) -> dict[str, int]:
    """Count how often, and on how many hosts, an input of this task did not arrive as it was kept."""
    refused = task.attempts.filter(status=AttemptStatus.REFUSED, failure_code=INPUT_CORRUPT)
    return refused.order_by().aggregate(hosts_spoilt=Count("host", distinct=True), times_spoilt=Count("pk"))


def _move_on(task: Task, chosen: Next, *, by: object | None, exit_code: int | None, result: Any, now: datetime) -> None:
    counters = {"infra_failures": chosen.infra_failures, "user_failures": chosen.user_failures}
    if chosen.status == TaskStatus.APPROVED:
        task.requeue(reason=chosen.reason, now=now, **counters)
        return
    outcome = {**counters, "exit_code": exit_code, "result": result}
    if chosen.status == TaskStatus.COMPLETED:
        task.complete(by=by, reason=chosen.reason, now=now, **outcome)
    elif chosen.status == TaskStatus.CANCELLED:
        task.cancel(by=by, reason=chosen.reason, now=now, **outcome)
    else:
        task.fail(
            by=by,
            reason=chosen.reason,
            now=now,
            failure_code=chosen.failure_code,
            failure_detail=chosen.failure_detail,
            failure_fault=chosen.failure_fault,
            **outcome,
        )
    settle(task, now=now)


def _lock(attempt_id: UUID, host: Host, epoch: int, *, ended: bool = False) -> tuple[Attempt, Task]:
    """Lock the task, then its attempt; raises LeaseLost unless it is this host's, of this epoch and open.

    The attempt too, since a sync that acknowledges it takes the offer without the task's lock.
    """
    lost = LeaseLost("This attempt is not, or no longer, given to this host: end its program.", attr="epoch")
    found = Attempt.objects.filter(pk=attempt_id, host=host, epoch=epoch)
    task_id = found.values_list("task_id", flat=True).first()
    if task_id is None:
        raise lost
    task = Task.objects.select_for_update(no_key=True, of=("self",)).select_related("hold", "account").get(pk=task_id)
    attempt = found.select_for_update(no_key=True).get()
    if not attempt.is_open and not ended:
        raise lost
    return attempt, task


def _legal_end(attempt: Attempt, outcome: str) -> str:
    """Map the agent's word to a state that this attempt can end in, or has ended in.

    An attempt that never started cannot have failed on its own: whatever it says, the offer was refused.
    """
    if outcome == AttemptStatus.CANCELLED:
        return outcome
    if attempt.started_at is None:
        return AttemptStatus.REFUSED
    return AttemptStatus.FAILED if outcome == AttemptStatus.REFUSED else outcome


def _believed_fault(status: str, outcome: str, said: str, task: Task) -> str:
    """Take a host's word on whose fault it was as far as money allows.

    A host cannot make the platform pay its owner, nor charge for a program that it ended unasked. What it could
    not prepare may be the user's doing, but then it has to say so: a program that never started cannot have failed.
    """
    if status == AttemptStatus.SUCCEEDED:
        return Fault.NONE
    if said == Fault.PLATFORM or (status == AttemptStatus.REFUSED and (outcome, said) != (status, Fault.USER)):
        return Fault.HOST
    if status == AttemptStatus.CANCELLED:
        is_asked = task.cancel_requested_at is not None or task.complete_requested_at is not None
        return said if is_asked else Fault.HOST
    return Fault.USER if said == Fault.NONE else said
