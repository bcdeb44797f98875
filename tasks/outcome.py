"""Where a task goes when an attempt of it has ended: a pure decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.choices import AttemptStatus, Fault, TaskStatus

# No other host could read them either.
SECRETS_UNREADABLE = "secrets_unreadable"
WINDOW_CLOSED = "window_closed"
# What a host says of an input that does not have its digest, however often it is fetched.
INPUT_CORRUPT = "input_corrupt"


@dataclass(frozen=True)
class Ended:
    """An attempt's end, and what the task had been through before it."""

    status: str
    fault: str
    code: str
    detail: str
    had_started: bool
    cancel_requested: bool
    complete_requested: bool
    infra_failures: int
    user_failures: int
    retries: int
    infra_retries: int
    time_left_ms: int
    hosts_lost: int = 0
    hosts_spoilt: int = 0  # different hosts that an input reached with another digest than it was kept with
    times_spoilt: int = 0
    poison_hosts: int = 3
    was_closed: bool = False  # the owner's window closed, and the task had said that it may be interrupted


@dataclass(frozen=True)
class Next:
    """The state to move to, why, and the counters as they are from now on."""

    status: str
    reason: str
    failure_code: str = ""
    failure_detail: str = ""
    failure_fault: str = ""
    infra_failures: int = 0
    user_failures: int = 0


def is_charged(status: str, fault: str, *, had_started: bool) -> bool:
    """The payer pays for time that ran and did not end by a fault of the host or the platform."""
    return had_started and status != AttemptStatus.LOST and fault not in (Fault.HOST, Fault.PLATFORM)


def decide(end: Ended) -> Next:
    """Decide the task's next state.

    1. A cancel asked for wins whatever the exit code; then a completion by staff.
    2. Success completes.
    3. Refused, not yet started, or stopped as the owner's hours ended: back to the queue, no counter moves; unless
    it could not be prepared by the user's fault (an image that does not exist), which is an end like rule 5 and
    free. Secrets that the platform cannot read are an end too, and so is an input that arrived with another
    digest on POISON_HOSTS different hosts, or more than INFRA_RETRIES times: it is the platform that has it wrong.
    4. Fault of host or platform: back to the queue, free, INFRA_RETRIES times; then FAILED `infrastructure`. Sooner
    where POISON_HOSTS different hosts were lost while it ran: it may well be what breaks them.
    5. The program's own fault: again while the task's retries and its time last; then FAILED with its code.
    """
    counters: dict[str, Any] = {"infra_failures": end.infra_failures, "user_failures": end.user_failures}
    if end.cancel_requested:
        return Next(TaskStatus.CANCELLED, "No process of it is left.", **counters)
    if end.complete_requested:
        return Next(TaskStatus.COMPLETED, "Staff ended it; what was metered is charged.", **counters)
    if end.status == AttemptStatus.SUCCEEDED:
        return Next(TaskStatus.COMPLETED, "The program ended with exit code 0.", **counters)
    sentence = end.detail or end.code or f"The attempt ended {end.status}."
    if end.code == SECRETS_UNREADABLE and end.fault == Fault.PLATFORM:
        return Next(
            TaskStatus.FAILED,
            sentence,
            failure_code=end.code,
            failure_detail=sentence,
            failure_fault=Fault.PLATFORM,
            **counters,
        )
    if end.hosts_spoilt >= end.poison_hosts or end.times_spoilt > end.infra_retries:
        return Next(
            TaskStatus.FAILED,
            f"Given up: an input arrived {end.times_spoilt} times otherwise than it was kept.",
            failure_code=INPUT_CORRUPT,
            failure_detail=f"An input arrived {end.times_spoilt} times, on {end.hosts_spoilt} hosts, otherwise than it"
            " was kept, so no other gets the task: send that file again and submit anew. Nothing is charged."
            f" The last one: {sentence}",
            failure_fault=Fault.PLATFORM,
            **counters,
        )
    if not end.had_started and not (end.status == AttemptStatus.REFUSED and end.fault == Fault.USER):
        return Next(TaskStatus.APPROVED, f"The host did not take it: {sentence}", **counters)
    if end.was_closed:
        return Next(
            TaskStatus.APPROVED, "Placed again, free of charge: the owner's hours for that GPU are over.", **counters
        )
    if end.status == AttemptStatus.LOST or end.fault in (Fault.HOST, Fault.PLATFORM):
        counters["infra_failures"] += 1
        if end.hosts_lost >= end.poison_hosts:
            return Next(
                TaskStatus.FAILED,
                f"Given up: {end.hosts_lost} different hosts were lost while it ran.",
                failure_code="infrastructure",
                failure_detail=f"{end.hosts_lost} different hosts were lost while it ran, so no other gets it:"
                f" see whether it takes more of a machine than it asks for. The last one: {sentence}",
                failure_fault=end.fault or Fault.HOST,
                **counters,
            )
        if counters["infra_failures"] > end.infra_retries:
            return Next(
                TaskStatus.FAILED,
                f"Given up after {counters['infra_failures']} attempts that ended by no fault of the program.",
                failure_code="infrastructure",
                failure_detail=f"The last one: {sentence}",
                failure_fault=end.fault or Fault.HOST,
                **counters,
            )
        return Next(TaskStatus.APPROVED, f"Placed again, free of charge: {sentence}", **counters)
    counters["user_failures"] += 1
    if counters["user_failures"] <= end.retries and end.time_left_ms > 0:
        return Next(TaskStatus.APPROVED, f"Retry {counters['user_failures']} of {end.retries}: {sentence}", **counters)
    return Next(
        TaskStatus.FAILED,
        sentence,
        failure_code=end.code,
        failure_detail=end.detail,
        failure_fault=end.fault,
        **counters,
    )
