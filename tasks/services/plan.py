"""What a submit would do: the quote, and the first half of the submit itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.conf import settings

from accounts.choices import Role
from accounts.models import Account
from accounts.services import cap_refusal, hours_balance, require_open, wallet_balance
from gaas.lib.amounts import MICRO, MS_PER_HOUR, hours_to_ms, parse_micro, show_hours, show_micro
from gaas.lib.errors import DomainError, NotAllowed, NotFound
from gaas.lib.sealed import seal
from gpus.models import GPU
from tasks import kinds
from tasks.approval import StepNeeded, steps_for
from tasks.draft import Draft
from tasks.funding import RULES
from tasks.models import Task
from tasks.placement import Reason, fits_now, fitting, place, why_none
from tasks.services.field import need_of, slots
from tasks.services.inputs import find_inputs
from tasks.services.reserve import bind, bucket_of, contract_for

if TYPE_CHECKING:
    from accounts.ledger.models import Balance
    from accounts.models import User

POSITION_SHOWN_UP_TO = 1000


class InsufficientQuota(DomainError):
    """State that the payer's hours do not cover the hold."""

    code = "insufficient_quota"
    depends_on_state = True


class InsufficientFunds(DomainError):
    """State that the payer's money does not cover the hold."""

    code = "insufficient_funds"
    depends_on_state = True


class InsufficientReservedHours(DomainError):
    """State that the contract's bucket does not cover the hold."""

    code = "insufficient_reserved_hours"
    depends_on_state = True


@dataclass
class Plan:
    """A priced, validated submit that is not stored. Amounts in the funding's own unit: GPU-ms or micro-dollars."""

    task: Task
    balance: Balance
    to_hold: int
    steps: list[StepNeeded]
    capped: DomainError | None = None

    @property
    def available(self) -> int:
        return (self.balance.posted or 0) - self.balance.held

    def shortage(self) -> DomainError | None:
        """Give the refusal a submit would get now for want of hours or money, or for a cap."""
        if self.available < self.to_hold:
            return shortage(self.task.funding, self.to_hold, self.available)
        return self.capped


@dataclass
class Quote:
    """What a submit would hold and need, and what fits it now. `position` is None beyond a thousand in the queue."""

    plan: Plan
    fitting_free: int
    fitting_listed: int
    cheapest_per_hour: int | None
    position: int | None
    starts: str
    waiting: Reason | None
    refusal: DomainError | None


def shortage(funding: str, needed: int, available: int) -> DomainError:
    """Say what is missing, in the unit people know; rounded up, or what was asked for would not do."""
    if funding == "reserved":
        return InsufficientReservedHours(
            f"This needs {show_hours(needed)} GPU-hours and the contract has {show_hours(available)} left."
            " Ask for fewer hours, wait for its next period, or pay with funding `quota` or `wallet`.",
            attr="hours",
        )
    if funding == "quota":
        missing = show_micro(-((available - needed) * MICRO // MS_PER_HOUR))
        return InsufficientQuota(
            f"This needs {show_hours(needed)} GPU-hours and {show_hours(available)} are available: "
            f"{missing} are missing. Ask for fewer hours or request quota.",
            attr="hours",
        )
    return InsufficientFunds(
        f"This needs {show_micro(needed)} USD and {show_micro(available)} are available: "
        f"{show_micro(needed - available)} are missing. Top up the wallet or ask for less.",
        attr="hours",
    )


def plan(draft: Draft, *, by: User, now: datetime, reserved_first: bool = True) -> Plan:
    """Validate and price a draft without storing anything.

    Reserved hours that the draft does not name pay for it only where nothing speaks against them: it is never
    refused for want of what it did not ask for. `reserved_first` False leaves them alone.

    1. Whose account, and may this person spend from it. 2. The kind reads its spec. 3. Limits, and the files that
    it is given. 4. The price ceiling of a wallet task. 5. Which balance pays and how much it would hold. 6. The
    approvals.
    Raises NotFound for an account that this person does not see, NotAllowed for one to spend from in vain,
    DomainError for all else.
    """
    account = may_spend(draft.account, by)
    kind = kinds.get(draft.kind)
    spec = kind.validate(draft.spec, account)
    max_ms = hours_to_ms(parse_micro(settings.MAX_TASK_HOURS))
    if draft.limit_ms is None and not kinds.may_go_on(kind, spec):
        raise DomainError(
            "Say for how many hours at most: only what serves may go on without an end.", code="required", attr="hours"
        )
    if draft.limit_ms is not None and draft.limit_ms > max_ms:
        raise DomainError(f"At most {show_hours(max_ms)} hours fit in one task.", code="too_long", attr="hours")
    if draft.priority > 0 and not by.has_perm("tasks.approve_task"):
        raise DomainError("A priority above 0 is given by staff at the approval.", attr="priority")
    offered = GPU.objects.listed().usable_by(account)
    if draft.host_id is not None and not offered.filter(host_id=draft.host_id).exists():
        raise DomainError("There is no such host that is offered to this account.", attr="host")
    payer = account.payer()
    task = Task(
        account=account,
        payer=payer,
        submitted_by=by,
        retry_of=draft.retry_of,
        title=draft.title,
        kind=draft.kind,
        spec=spec,
        env=draft.env,
        secret_names=sorted(draft.secrets),
        secrets=seal(draft.secrets, purpose="task") if draft.secrets else None,
        executor=kind.requirements(spec)["executor"],
        inputs=find_inputs(draft.inputs, by=by),
        gpus=draft.gpus,
        min_vram_mib=draft.min_vram_mib,
        gpu_model=draft.gpu_model,
        min_compute_capability=draft.min_compute_capability,
        labels=draft.labels,
        region=draft.region,
        host_id=draft.host_id,
        funding=draft.funding,
        limit_ms=step_ms() if draft.limit_ms is None else draft.limit_ms,
        is_open_ended=draft.limit_ms is None,
        fee_basis_points=parse_micro(settings.PLATFORM_FEE_PERCENT) // 10_000,
        cost_code=draft.cost_code,
        priority=draft.priority,
        retries=draft.retries,
        interruptible=draft.interruptible,
        wait_until=now + timedelta(milliseconds=draft.max_wait_ms) if draft.max_wait_ms is not None else None,
    )
    contract = None
    if reserved_first or draft.funding == "reserved":
        contract = contract_for(draft, account=account, payer=payer, now=now)
    if contract is not None:
        bind(task, contract, draft)
    rule = RULES[task.funding]
    if task.funding == "wallet":
        task.max_price_per_hour = _price_ceiling(draft, task, now)
    to_hold = rule.to_hold(gpus=task.gpus, limit_ms=task.limit_ms, price_ceiling=task.max_price_per_hour)
    balance = _balance(task, payer)
    capped = cap_refusal(account=account, asset=rule.asset, amount=to_hold, now=now)
    planned = Plan(task=task, balance=balance, to_hold=to_hold, steps=steps_for(task), capped=capped)
    if task.funding != draft.funding and planned.shortage() is not None:
        return plan(draft, by=by, now=now, reserved_first=False)
    return planned


def _balance(task: Task, payer: Account) -> Balance:
    if task.contract is not None:
        return bucket_of(task.contract)
    return hours_balance(payer) if task.funding == "quota" else wallet_balance(payer)


def step_ms() -> int:
    """Give for how long what goes on is paid ahead, at its submit and each time again."""
    return int(settings.PROLONG_STEP_SECONDS * 1000)


def quote(draft: Draft, *, by: User, now: datetime) -> Quote:
    """Answer what a submit of the same draft would hold, need and wait for; stores nothing."""
    planned = plan(draft, by=by, now=now)
    task = planned.task
    need = need_of(task)
    listed = slots(GPU.objects.listed(), now=now)
    fit_listed = fitting(need, listed)
    fit_free = [slot for slot in slots(GPU.objects.free(now=now), now=now) if fits_now(need, slot)]
    ahead = Task.objects.queue().filter(priority__gte=task.priority)[:POSITION_SHOWN_UP_TO].count()
    waiting = None
    if not place([need], fit_free):
        waiting = why_none(need, listed)
        starts = "when GPUs are free"
    else:
        starts = "within seconds of the approval" if ahead == 0 else "after the tasks ahead of it"
    return Quote(
        plan=planned,
        fitting_free=len(fit_free),
        fitting_listed=len(fit_listed),
        cheapest_per_hour=min((slot.price_per_hour for slot in fit_listed), default=None),
        position=ahead + 1 if ahead < POSITION_SHOWN_UP_TO else None,
        starts=starts,
        waiting=waiting,
        refusal=planned.shortage(),
    )


def may_spend(account: Account | None, by: User) -> Account:
    """Give the account that a person may spend from: the one named, else the person's own.

    Raises NotFound for one that is not seen, NotAllowed for one that is only seen.
    """
    if account is None and by.bound_to is None:
        return by.default_account
    account = account or by.default_account
    if account.role_of(by) is None:
        if by.has_perm("accounts.view_account"):
            raise NotAllowed("You see this account but are no member of it.", attr="account")
        raise NotFound("There is no such account.", attr="account")
    role = account.spending_role_of(by)
    if role is None:
        raise NotAllowed("Managing what is above a person's own account lets nobody spend from it.", attr="account")
    if role < Role.MEMBER:
        raise NotAllowed("A viewer of an account sees it but cannot spend from it.", attr="account")
    require_open(account)
    return account


def _price_ceiling(draft: Draft, task: Task, now: datetime) -> int:
    """Take the caller's ceiling, or the price of the dearest GPU that fits now."""
    if draft.max_price_per_hour is not None:
        return draft.max_price_per_hour
    fit = fitting(need_of(task), slots(GPU.objects.listed(), now=now))
    if not fit:
        raise DomainError(
            "No listed GPU fits now, so there is no price to take: give `max_price_per_hour_usd`.",
            code="no_price",
            attr="max_price_per_hour_usd",
        )
    # A hold is of something: where all are free of charge it is of a micro-dollar and comes back whole.
    return max(1, *(slot.price_per_hour for slot in fit))
