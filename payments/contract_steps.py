"""What a contract has to do next: a decision by what is known of it, no database, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from payments.choices import CONTRACT_RESTING, CONTRACT_RUNNING, CatchUp, ContractStatus
from payments.schedule import Schedule


@dataclass(frozen=True)
class Pause:
    """Cover the periods due after `from_at` and before `until_at`; None: it lasts."""

    from_at: datetime
    until_at: datetime | None
    catch_up: str

    def covers(self, due: datetime) -> bool:
        # What is due at the very second of the pause has begun, and at that of the end begins.
        return self.from_at < due and (self.until_at is None or due < self.until_at)


@dataclass(frozen=True)
class Facts:
    """Hold what decides. Numbers count periods.

    `stop_no`: the first that will not be, by a cancel. `end_no`: the first that the terms do not have; None: without
    end. `open_until`: when what the last paid period left lapses or is carried on; None: nothing is left to close.
    `is_pointless`: a side is gone, so that no period will ever be paid.
    """

    status: str
    next_no: int
    schedule: Schedule
    end_no: int | None = None
    renews: bool = False
    stop_no: int | None = None
    pauses: tuple[Pause, ...] = ()
    open_until: datetime | None = None
    retry_at: datetime | None = None
    is_pointless: bool = False


@dataclass(frozen=True)
class Step:
    """Do `what` now: close, end, renew, skip or open; or wait `until` then, None: for a person."""

    what: str
    until: datetime | None = None


def next_step(facts: Facts, now: datetime) -> Step:
    """Decide what is to be done at a moment.

    1. What the last period left is settled first, whatever became of the contract. 2. A contract whose end is reached
    ends, or begins its next term. 3. The next period, if it is due and in no pause, is opened; one in a pause that is
    over is skipped if the terms say so, and opened late if they do not.
    """
    if facts.open_until is not None and facts.open_until <= now:
        return Step("close")
    if facts.status not in CONTRACT_RUNNING:
        return Step("wait", facts.open_until)
    end_no, renews = facts.end_no, facts.renews
    if facts.stop_no is not None and (end_no is None or renews or facts.stop_no <= end_no):
        end_no, renews = facts.stop_no, False
    due = facts.schedule.due(facts.next_no)
    pause = next((pause for pause in facts.pauses if pause.covers(due)), None)
    is_resting = pause is not None and pause.until_at is None
    if facts.is_pointless and (is_resting or facts.status in CONTRACT_RESTING):
        # Nobody will resume it; what runs ends by itself when its next period is due.
        return Step("end")
    end_at = None if end_no is None else facts.schedule.due(end_no)
    if end_no is not None and end_at is not None and end_at <= now and (is_resting or facts.next_no >= end_no):
        if not renews:
            return Step("end")
        if not is_resting:
            return Step("renew")
    if is_resting:
        return Step("wait", _soonest(facts.open_until, None if renews else end_at))
    if due > now:
        return Step("wait", _soonest(facts.open_until, due))
    if pause is not None and pause.catch_up == CatchUp.SKIP:
        return Step("skip")
    if facts.status == ContractStatus.SUSPENDED:
        return Step("wait", _soonest(facts.open_until, end_at))
    if facts.retry_at is not None and facts.retry_at > now:
        return Step("wait", _soonest(facts.open_until, facts.retry_at))
    return Step("open")


def _soonest(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)
