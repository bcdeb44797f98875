"""Which approvals a task needs, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from accounts.services import thresholds_over
from accounts.services.caps import MAX_LIMIT
from tasks.choices import StepKind
from tasks.funding import RULES

if TYPE_CHECKING:
    from accounts.models import Account
    from tasks.models import Task


@dataclass(frozen=True)
class StepNeeded:
    """Ask for one yes; `account` is whose managers give it, None where staff do."""

    kind: str
    why: str
    account: Account | None = None


def steps_for(task: Task) -> list[StepNeeded]:
    """Give the approvals of a task in their order: parents whose threshold it passes, the nearest first, then staff."""
    rule = RULES[task.funding]
    amount = rule.to_hold(gpus=task.gpus, limit_ms=task.limit_ms, price_ceiling=task.max_price_per_hour)
    if task.is_open_ended:
        amount = MAX_LIMIT  # some day it passes every threshold
    parents = [
        StepNeeded(
            StepKind.PARENT_MANAGER,
            f"Above {threshold.show(threshold.above)} a manager of {threshold.account.name[:100]} approves first.",
            threshold.account,
        )
        for threshold in thresholds_over(account=task.account, asset=rule.asset, amount=amount)
    ]
    return [*parents, StepNeeded(StepKind.STAFF, "Every task is approved by staff.")]
