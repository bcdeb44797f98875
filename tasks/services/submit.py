"""Take a task on: the hold, the task, its approvals and its first event are one transaction."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from accounts.choices import Role
from accounts.ledger.services import CapExceeded, InsufficientBalance, hold
from accounts.services import AccountMoved, explain_cap, spending_of
from accounts.services.keys import caps_of_key
from gaas.lib.errors import Conflict, DomainError, NotAllowed
from gaas.lib.ids import uuid7
from gaas.lib.retry import retried
from gaas.lib.sealed import Unsealable
from tasks.draft import Draft, InputWanted
from tasks.models import ApprovalStep, Task
from tasks.services.inputs import hold_inputs
from tasks.services.plan import Plan, plan, shortage

if TYPE_CHECKING:
    from accounts.models import User


def submit(draft: Draft, *, by: User, now: datetime) -> Task:
    """Store a task that waits for its approvals, with its whole cost on hold.

    1. Validate, price, and look at the balance and the caps as the quote does (no lock). 2. Keep the account and
    all above it where they are, and see that the payer is still the one planned with. 3. Hold on the payer's
    balance and count it in every cap, also that of the key by which the call came: the conditional UPDATEs
    decide among parallel submits. 4. Task, the files it is given, steps, event. Raises InsufficientQuota,
    InsufficientFunds, CapExceeded or BadInput and stores nothing. Locks: accounts (shared) → balance → caps → files.
    """
    planned = plan(draft, by=by, now=now)
    if planned.task.funding != draft.funding:
        try:
            return _take(planned, by=by, now=now)
        except DomainError:
            # Somebody else was given those reserved hours meanwhile, for which nobody asked here.
            planned = plan(draft, by=by, now=now, reserved_first=False)
    return _take(planned, by=by, now=now)


def _take(planned: Plan, *, by: User, now: datetime) -> Task:
    if (short := planned.shortage()) is not None:
        raise short
    planned.task.pk = uuid7()
    return _store(planned, by=by, now=now)


@retried
def _store(planned: Plan, *, by: User, now: datetime) -> Task:
    task, asset = planned.task, planned.balance.asset_id
    spending = spending_of(account=task.account, asset=asset, now=now)
    if spending.payer.pk != task.payer_id:
        raise AccountMoved(task.account)
    try:
        task.hold = hold(
            balance=planned.balance,
            amount=planned.to_hold,
            key=f"task:{task.pk}",
            purpose="task",
            ref=str(task.pk),
            caps=[*spending.caps, *caps_of_key(user=by, asset=asset, now=now)],
            spender=spending.spender,
        )
    except InsufficientBalance as refused:
        raise shortage(task.funding, refused.needed, refused.available) from refused
    except CapExceeded as over:
        raise explain_cap(over) from over
    task.save(force_insert=True)
    hold_inputs(task, now=now)
    ApprovalStep.objects.bulk_create(
        ApprovalStep(task=task, position=i, kind=step.kind, why=step.why, account=step.account)
        for i, step in enumerate(planned.steps)
    )
    task._record_move("", task.status, by=by, reason="", now=now)
    return task


def retry(task: Task, *, by: User, now: datetime) -> Task:
    """Submit an ended task once more: a new task with its own hold and approvals that points back at it.

    Raises Conflict while the old one is not at its end, NotAllowed for who may not spend from its account.
    """
    if task.submitted_by_id != by.pk and not _manages(task, by):
        raise NotAllowed("Only its submitter or a manager of its account submits a task again.")
    if not task.is_terminal:
        raise Conflict(f"This task is {task.status}; only one that has ended can be submitted again.", attr="status")
    # What reserved hours paid for unasked asks for the same again: they may be gone by now.
    asked = task.asked_to_pay or {"funding": task.funding, "max_price_per_hour": task.max_price_per_hour}
    return submit(
        Draft(
            title=task.title,
            kind=task.kind,
            spec=task.spec,
            funding=asked["funding"],
            contract_id=None if task.asked_to_pay else task.contract_id,
            gpus=task.gpus,
            limit_ms=task.asked_ms,
            account=task.account,
            min_vram_mib=task.min_vram_mib,
            gpu_model=task.gpu_model,
            min_compute_capability=task.min_compute_capability,
            labels=task.labels,
            region=task.region,
            host_id=task.host_id,
            max_price_per_hour=asked["max_price_per_hour"],
            priority=min(task.priority, 0),
            retries=task.retries,
            interruptible=task.interruptible,
            env=task.env,
            secrets=_secrets_of(task),
            cost_code=task.cost_code,
            inputs=tuple(InputWanted(again=entry) for entry in task.inputs),
            retry_of=task,
        ),
        by=by,
        now=now,
    )


def _secrets_of(task: Task) -> dict[str, str]:
    try:
        return task.open_secrets()
    except Unsealable as error:
        raise Conflict(
            "The secrets of this task cannot be read any more: submit it anew with its secrets.",
            code="secrets_unreadable",
            attr="secrets",
        ) from error


def _manages(task: Task, by: User) -> bool:
    role = task.account.role_of(by)
    return role is not None and role >= Role.MANAGER
