"""What the books must say about tasks: invariants 8 and 9 of the ledger's check.

Added up in Python, whose integers neither round nor overflow: a price times milliseconds may pass 64 bits.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from uuid import UUID

from accounts.ledger.check import SHOWN, register
from accounts.ledger.choices import HoldState
from accounts.ledger.models import Hold, Transfer
from gaas.lib.amounts import MS_PER_HOUR
from payments.models import Charge
from tasks.choices import TERMINAL
from tasks.funding import RULES
from tasks.models import AttemptGPU, Task

BATCH = 500


@register(8, "a terminal task has no open hold, a live one exactly its own")
def holds_follow_tasks() -> Iterable[str]:
    tasks = Task.objects.order_by("pk")
    ended = tasks.filter(status__in=TERMINAL, hold__state=HoldState.OPEN)
    for task_id, status in ended.values_list("pk", "status")[:SHOWN]:
        yield f"Task {task_id} is {status}, but its hold is open."
    for task in tasks.live().select_related("hold").defer("spec", "env", "secrets", "result").iterator():
        wanted = RULES[task.funding].to_hold(
            gpus=task.gpus, limit_ms=task.limit_ms, price_ceiling=task.max_price_per_hour
        )
        if task.hold.state != HoldState.OPEN:
            yield f"Task {task.pk} is {task.status}, but its hold is {task.hold.state}."
        elif task.hold.open_amount != wanted:
            yield f"Task {task.pk} needs {wanted} on hold and has {task.hold.open_amount}."
    holds = Hold.objects.filter(state=HoldState.OPEN, purpose="task")
    for key in holds.exclude(pk__in=Task.objects.values("hold")).values_list("key", flat=True)[:SHOWN]:
        yield f"The open hold {key} is no task's."


@register(9, "owner part + fee = charge = the formula on the snapshot")
def charges_follow_the_formula() -> Iterable[str]:
    ended = Task.objects.filter(status__in=TERMINAL)
    for (charge_id,) in Charge.objects.exclude(task_id__in=ended.values("pk")).values_list("pk")[:SHOWN]:
        yield f"Charge {charge_id} is for no ended task."
    rows = ended.select_related("hold").defer("spec", "env", "secrets", "result", "labels").order_by("pk")
    last = None
    while batch := list((rows if last is None else rows.filter(pk__gt=last))[:BATCH]):
        yield from _of_batch(batch)
        last = batch[-1].pk


def _of_batch(tasks: list[Task]) -> Iterable[str]:
    """Compare the charges of these ended tasks with attempts, holds and transfers."""
    charges: dict[UUID, list[Charge]] = defaultdict(list)
    for row in Charge.objects.filter(task_id__in=[task.pk for task in tasks]):
        charges[row.task_id].append(row)
    metered = {
        (link.attempt_id, link.gpu_id): (link.attempt.metered_ms, link.price_per_hour)
        for link in AttemptGPU.objects.filter(attempt__task__in=tasks).select_related("attempt")
    }
    paid: dict[UUID, Counter[str]] = defaultdict(Counter)
    for hold_id, kind, amount in Transfer.objects.filter(hold__in=[task.hold_id for task in tasks]).values_list(
        "hold_id", "kind", "amount"
    ):
        paid[hold_id][kind] += amount
    for task in tasks:
        for row in charges[task.pk]:
            yield from _of_charge(task, row, metered.get((row.attempt_id, row.gpu_id)))
        yield from _of_task(task, charges[task.pk], paid[task.hold_id])


def _of_charge(task: Task, row: Charge, metered: tuple[int, int] | None) -> Iterable[str]:
    if metered != (row.gpu_ms, row.price_per_hour):
        yield f"Charge {row.pk} is not for what its attempt metered at the price of its offer."
    worth = row.price_per_hour * row.gpu_ms // MS_PER_HOUR if task.funding == "wallet" else 0
    fee = worth * task.fee_basis_points // 10_000
    if (row.charge, row.fee, row.owner_part, row.from_loss) not in (
        (worth, fee, worth - fee, 0),
        (0, 0, 0, worth - fee),
    ):
        yield f"Charge {row.pk} says {row.charge} = {row.fee} + {row.owner_part}, the formula {worth} with fee {fee}."


def _of_task(task: Task, charges: list[Charge], paid: Counter[str]) -> Iterable[str]:
    charge, fee, owner_part = (sum(getattr(row, part) for row in charges) for part in ("charge", "fee", "owner_part"))
    used = sum(row.gpu_ms for row in charges if not row.from_loss)
    if (task.gpu_ms, task.cost_microusd) != (used, charge):
        yield f"Task {task.pk} shows {task.gpu_ms} GPU-ms and {task.cost_microusd}; not {used} and {charge} as charged."
    wanted = Counter(usage=used) if task.funding == "quota" else Counter(fee=fee, earning=owner_part)
    if paid != wanted:
        yield f"Task {task.pk} paid {_shown(paid)}; its charges say {_shown(wanted)}."
    if task.hold.captured != wanted.total():
        yield f"Task {task.pk} had {task.hold.captured} captured; its charges say {wanted.total()}."


def _shown(legs: Counter[str]) -> str:
    return ", ".join(f"{amount} as {kind}" for kind, amount in sorted(legs.items())) or "nothing"
