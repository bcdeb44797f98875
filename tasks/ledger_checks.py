"""What the books must say about tasks: invariants 8 and 9 of the ledger's check.

Added up in Python, whose integers neither round nor overflow: a price times milliseconds may pass 64 bits.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from uuid import UUID

from django.db.models import Q, Sum

from accounts.ledger.check import SHOWN, register
from accounts.ledger.choices import HoldState
from accounts.ledger.models import Hold, Transfer
from gaas.lib.amounts import MS_PER_HOUR
from payments.models import Charge
from tasks.choices import TERMINAL, Fault
from tasks.funding import RULES
from tasks.models import Attempt, AttemptGPU, Task

BATCH = 500


@register(8, "a terminal task has no open hold, a live one exactly its own")
def holds_follow_tasks() -> Iterable[str]:
    tasks = Task.objects.order_by("pk")
    ended = tasks.filter(status__in=TERMINAL, hold__state=HoldState.OPEN)
    for task_id, status in ended.values_list("pk", "status")[:SHOWN]:
        yield f"Task {task_id} is {status}, but its hold is open."
    for task in tasks.live().select_related("hold").defer("spec", "env", "secrets", "result").iterator():
        captured_ms = task.attempts.aggregate(sum=Sum("charged_ms"))["sum"] or 0 if task.is_open_ended else 0
        wanted = RULES[task.funding].to_hold(
            gpus=task.gpus, limit_ms=task.limit_ms - captured_ms, price_ceiling=task.max_price_per_hour
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
    ended = Task.objects.filter(Q(status__in=TERMINAL) | Q(is_open_ended=True))
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
    by_id = {task.pk: task for task in tasks}
    metered = {
        (link.attempt_id, link.gpu_id): (_counted(link.attempt, by_id[link.attempt.task_id]), link.price_per_hour)
        for link in AttemptGPU.objects.filter(attempt__task__in=tasks).select_related("attempt")
    }
    # By the task they name, since what goes on over the end of a cap's period has several holds.
    paid: dict[str, Counter[str]] = defaultdict(Counter)
    of_holds = Transfer.objects.filter(ref__in=[str(task.pk) for task in tasks], hold__isnull=False)
    for ref, kind, amount in of_holds.values_list("ref", "kind", "amount"):
        paid[ref][kind] += amount
    for task in tasks:
        of_gpus: dict[tuple[UUID, UUID], list[Charge]] = defaultdict(list)
        for row in charges[task.pk]:
            of_gpus[row.attempt_id, row.gpu_id].append(row)
        for key, rows in of_gpus.items():
            yield from _of_gpu(task, sorted(rows, key=lambda row: row.part), metered.get(key))
        yield from _of_task(task, charges[task.pk], paid[str(task.pk)])


def _counted(attempt: Attempt, task: Task) -> int:
    """Give what of an attempt is charged: all that was metered, or what was charged in parts before it was lost.

    While its task goes on, also after an attempt that is tried again, the parts alone: the rest is charged at the
    task's end. What the platform broke is charged to the platform where money pays, and to nobody where hours do.
    """
    if not task.is_terminal:
        return attempt.charged_ms
    is_counted = not attempt.charged_parts or (attempt.fault == Fault.PLATFORM and task.funding == "wallet")
    return attempt.metered_ms if is_counted else attempt.paid_ms


def _of_gpu(task: Task, rows: list[Charge], metered: tuple[int, int] | None) -> Iterable[str]:
    """Compare the parts in which one GPU of one attempt was charged with the formula up to the end of each."""
    price, from_ms = rows[0].price_per_hour, 0
    if metered != (sum(row.gpu_ms for row in rows), price) or any(row.price_per_hour != price for row in rows):
        yield f"Charge {rows[-1].pk} is not for what its attempt metered at the price of its offer."
    for row in rows:
        before, after = (price * ms // MS_PER_HOUR for ms in (from_ms, from_ms + row.gpu_ms))
        worth = after - before if task.funding == "wallet" else 0
        fee = (after * task.fee_basis_points // 10_000 - before * task.fee_basis_points // 10_000) if worth else 0
        from_ms += row.gpu_ms
        if (row.charge, row.fee, row.owner_part, row.from_loss) not in (
            (worth, fee, worth - fee, 0),
            (0, 0, 0, worth - fee),
        ):
            said = f"{row.charge} = {row.fee} + {row.owner_part}"
            yield f"Charge {row.pk} says {said}, the formula {worth} with fee {fee}."


def _of_task(task: Task, charges: list[Charge], paid: Counter[str]) -> Iterable[str]:
    charge, fee, owner_part = (sum(getattr(row, part) for row in charges) for part in ("charge", "fee", "owner_part"))
    used = sum(row.gpu_ms for row in charges if not row.from_loss)
    if (task.gpu_ms, task.cost_microusd) != (used, charge):
        yield f"Task {task.pk} shows {task.gpu_ms} GPU-ms and {task.cost_microusd}; not {used} and {charge} as charged."
    wanted = Counter(usage=used) if task.funding != "wallet" else Counter(fee=fee, earning=owner_part)
    if paid != wanted:
        yield f"Task {task.pk} paid {_shown(paid)}; its charges say {_shown(wanted)}."
    if not task.is_open_ended and task.hold.captured != wanted.total():
        yield f"Task {task.pk} had {task.hold.captured} captured; its charges say {wanted.total()}."


def _shown(legs: Counter[str]) -> str:
    return ", ".join(f"{amount} as {kind}" for kind, amount in sorted(legs.items())) or "nothing"
