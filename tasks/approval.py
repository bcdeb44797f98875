"""Which approvals a task needs, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

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
    """Give the approvals of a task in their order: parents whose threshold it passes, the nearest first, then staff.

    A threshold is the parent's, so whoever manages that decides, once for all its thresholds; a root has its own.
    """
    rule = RULES[task.funding]
    amount = rule.to_hold(gpus=task.gpus, limit_ms=task.limit_ms, price_ceiling=task.max_price_per_hour)
    if task.is_open_ended:
        amount = MAX_LIMIT  # some day it passes every threshold
    parents: dict[UUID, StepNeeded] = {}
    for threshold in thresholds_over(account=task.account, asset=rule.asset, amount=amount):
        # Who manages a child alone must not lift what its parents asked of it; its people may not know the parent.
        above, name = threshold.account.parent, threshold.account.name[:100]
        decides, who = (above, f"the account above {name}") if above is not None else (threshold.account, name)
        why = f"Above {threshold.show(threshold.above)} a manager of {who} approves first."
        parents.setdefault(decides.pk, StepNeeded(StepKind.PARENT_MANAGER, why, decides))
    return [*parents.values(), StepNeeded(StepKind.STAFF, "Every task is approved by staff.")]
