"""Turn an ended task's metered time into a charge, and give the rest of its hold back."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from uuid import UUID

from django.db.models import Prefetch

from accounts.ledger.models import Balance, Transfer
from accounts.ledger.services import Leg, capture, open_balance, platform_balance, transfer
from payments.models import Charge
from tasks.choices import Fault
from tasks.funding import RULES, Charged, Usage
from tasks.models import Attempt, AttemptGPU, Task
from tasks.outcome import is_charged


def settle(task: Task, *, now: datetime) -> None:
    """Capture what was metered, once, in the transaction that ends the task.

    1. Metered time of every charged attempt, per GPU. 2. One capture with a leg for each side, final: the rest of
    the hold is released. 3. Owners of attempts that the platform broke are paid from `loss`. 4. One Charge row for
    each GPU of each attempt, of the moment of its transfers. 5. Webhooks are told, with the bill. Locks: task (the
    caller holds it) → hold → balances. A task that never ran captures nothing.
    """
    rule = RULES[task.funding]
    charged = rule.charge(_usages(task), held=task.hold.open_amount, fee_basis_points=task.fee_basis_points)
    legs = _legs(task, charged, key=f"task:{task.pk}")
    paid = capture(hold_id=task.hold_id, legs=legs, final=True, actor=f"task:{task.pk}")
    lost = {}
    for owner_id, amount in _by_owner(charged, "from_loss").items():
        lost[owner_id] = transfer(
            key=f"task:{task.pk}:loss:{owner_id}",
            kind="loss",
            debit=platform_balance(asset="USD", kind="loss"),
            credit=_earnings_of(owner_id),
            amount=amount,
            ref=str(task.pk),
        )
    Charge.objects.bulk_create(_row(task, row, _moment(row, paid, lost, now)) for row in charged)
    _count(task, charged)
    task.tell(since="", now=now)


def charge_part(task: Task, attempt: Attempt, *, metered_ms: int, now: datetime) -> None:
    """Capture what a running attempt was metered since its last part, and keep the hold; the caller locked the task.

    Once for each part: `attempt:<id>:<part>` is the key of its legs, and its Charge rows are unique.
    """
    rule, part = RULES[task.funding], attempt.charged_parts + 1
    links = attempt.gpu_links.select_related("gpu__host").order_by("gpu_id")
    usages = [_usage(attempt, link, until_ms=metered_ms, part=part) for link in links]
    charged = rule.charge(usages, held=task.hold.open_amount, fee_basis_points=task.fee_basis_points)
    legs = _legs(task, charged, key=f"attempt:{attempt.pk}:{part}")
    paid = capture(hold_id=task.hold_id, legs=legs, final=False, actor=f"task:{task.pk}")
    Charge.objects.bulk_create(_row(task, row, _moment(row, paid, {}, now)) for row in charged)
    attempt.charged_ms, attempt.charged_parts = metered_ms, part
    Attempt.objects.filter(pk=attempt.pk).update(charged_ms=metered_ms, charged_parts=part, updated_at=now)
    _count(task, charged)


def _count(task: Task, charged: list[Charged]) -> None:
    """Add to what the task shows of its cost."""
    task.gpu_ms += sum(row.gpu_ms for row in charged if row.usage.payer_pays)
    task.cost_microusd += sum(row.charge for row in charged)
    Task.objects.filter(pk=task.pk).update(gpu_ms=task.gpu_ms, cost_microusd=task.cost_microusd)


def _usages(task: Task) -> list[Usage]:
    """Read what each GPU did in each attempt that counts, oldest first."""
    links = Prefetch("gpu_links", AttemptGPU.objects.select_related("gpu__host").order_by("gpu_id"))
    attempts: list[Attempt] = list(task.attempts.filter(metered_ms__gt=0).order_by("epoch").prefetch_related(links))
    usages = []
    for attempt in attempts:
        payer_pays = is_charged(attempt.status, attempt.fault, had_started=attempt.started_at is not None)
        if not payer_pays and attempt.fault != Fault.PLATFORM:
            continue
        if attempt.charged_parts and attempt.metered_ms <= attempt.charged_ms:
            continue  # all of it was charged while it ran
        part = attempt.charged_parts + 1 if attempt.charged_parts else 0
        usages += [
            _usage(attempt, link, until_ms=attempt.metered_ms, part=part, payer_pays=payer_pays)
            for link in attempt.gpu_links.all()
        ]
    return usages


def _usage(attempt: Attempt, link: AttemptGPU, *, until_ms: int, part: int, payer_pays: bool = True) -> Usage:
    return Usage(
        attempt_id=attempt.pk,
        gpu_id=link.gpu_id,
        owner_account_id=link.gpu.host.account_id,
        host_id=attempt.host_id,
        gpu_ms=until_ms - attempt.charged_ms,
        price_per_hour=link.price_per_hour,
        payer_pays=payer_pays,
        from_ms=attempt.charged_ms,
        part=part,
    )


def _legs(task: Task, charged: list[Charged], *, key: str) -> list[Leg]:
    ref = str(task.pk)
    if RULES[task.funding].asset == "GPU":
        amount = sum(row.gpu_ms for row in charged)
        if not amount:
            return []
        used = platform_balance(asset="GPU", kind="used")
        return [Leg(credit=used, amount=amount, kind="usage", key=f"{key}:used", ref=ref)]
    legs = []
    for owner_id, amount in _by_owner(charged, "owner_part").items():
        earnings = _earnings_of(owner_id)
        legs.append(Leg(credit=earnings, amount=amount, kind="earning", key=f"{key}:owner:{owner_id}", ref=ref))
    fee = sum(row.fee for row in charged)
    if fee:
        fees = platform_balance(asset="USD", kind="fees")
        legs.append(Leg(credit=fees, amount=fee, kind="fee", key=f"{key}:fee", ref=ref))
    return legs


def _earnings_of(account_id: UUID) -> Balance:
    return open_balance(asset="USD", kind="earnings_pending", owner_key=f"acct:{account_id}")


def _by_owner(charged: list[Charged], part: str) -> dict[UUID, int]:
    sums: dict[UUID, int] = defaultdict(int)
    for row in charged:
        if getattr(row, part):
            sums[row.usage.owner_account_id] += getattr(row, part)
    return dict(sums)


def _moment(row: Charged, paid: list[Transfer], lost: dict[UUID, Transfer], now: datetime) -> datetime:
    """Give the moment of the transfer behind a charge, so that both are of one month; `now` where nothing moved."""
    if row.from_loss:
        return lost[row.usage.owner_account_id].created_at
    return paid[0].created_at if paid else now


def _row(task: Task, row: Charged, now: datetime) -> Charge:
    return Charge(
        task_id=task.pk,
        attempt_id=row.usage.attempt_id,
        gpu_id=row.usage.gpu_id,
        host_id=row.usage.host_id,
        owner_account_id=row.usage.owner_account_id,
        account_id=task.account_id,
        payer_account_id=task.payer_id,
        user_id=str(task.submitted_by_id),
        kind=task.kind,
        funding=task.funding,
        cost_code=task.cost_code,
        price_per_hour=row.usage.price_per_hour,
        part=row.usage.part,
        gpu_ms=row.gpu_ms,
        charge=row.charge,
        fee=row.fee,
        owner_part=row.owner_part,
        from_loss=row.from_loss,
        at=now,
    )
