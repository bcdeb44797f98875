"""What the books must say about payments, payouts and contracts: invariants 11 to 13 of the ledger's check."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from django.db.models import F, OuterRef, Subquery, Sum

from accounts.ledger.check import SHOWN, register
from accounts.ledger.models import Balance, Hold, Transfer
from accounts.ledger.services.snapshots import booked
from payments.choices import (
    CONTRACT_PREFIX,
    PAYOUT_SENT,
    REFUND_UNDER_WAY,
    PeriodStatus,
    RefundStatus,
    StatementKind,
)
from payments.models import (
    Contract,
    ContractPeriod,
    Dispute,
    Payment,
    Payout,
    Refund,
    Review,
    Statement,
    StatementBalance,
)

BATCH = 500


@register(11, "payment credited = its top-up transfers; refunded + disputed <= received")
def payments_follow_transfers() -> Iterable[str]:
    rows, last = Payment.objects.order_by("pk"), None
    while batch := list((rows if last is None else rows.filter(pk__gt=last))[:BATCH]):
        yield from _of_batch(batch)
        last = batch[-1].pk
    paid = Payment.objects.filter(received__gt=0).count()
    if paid != (count := booked(kind="topup", word="payment")):
        yield f"{paid} payments came in, and {count} top-ups were booked."


def _of_batch(payments: list[Payment]) -> Iterable[str]:
    """Compare these payments with the transfers that name them, and with their refunds and disputes."""
    refs = [str(payment.pk) for payment in payments]
    moved: dict[str, Counter[str]] = defaultdict(Counter)
    for ref, kind, amount in Transfer.objects.filter(ref__in=refs).values_list("ref", "kind", "amount"):
        moved[ref][kind] += amount
    refunds: dict[object, list[Refund]] = defaultdict(list)
    for refund in Refund.objects.filter(payment__in=payments):
        refunds[refund.payment_id].append(refund)
    disputes: dict[object, list[Dispute]] = defaultdict(list)
    for dispute in Dispute.objects.filter(payment__in=payments):
        disputes[dispute.payment_id].append(dispute)
    aside: Counter[object] = Counter()
    for payment_id, amount in Review.objects.filter(payment__in=payments).values_list("payment_id", "in_suspense"):
        aside[payment_id] += amount
    for payment in payments:
        if aside[payment.pk] != moved[str(payment.pk)]["suspense"]:
            yield f"Payment {payment.pk} has another sum in its reviews than was moved to suspense."
        yield from _of_payment(payment, moved[str(payment.pk)], refunds[payment.pk], disputes[payment.pk])


def _of_payment(payment: Payment, moved: Counter[str], refunds: list[Refund], disputes: list[Dispute]) -> Iterable[str]:
    sent = sum(refund.amount for refund in refunds if refund.status == RefundStatus.SUCCEEDED)
    under_way = [refund for refund in refunds if refund.status in REFUND_UNDER_WAY]
    contested = sum(dispute.amount for dispute in disputes if dispute.status != "WON")
    wanted = {
        "credited": (payment.received, moved["topup"]),
        "refunded": (payment.refunded, sent),
        "refunded by transfers": (payment.refunded, moved["refund"] - moved["refund_failed"]),
        "refunding": (payment.refunding, sum(refund.amount for refund in under_way)),
        "disputed": (payment.disputed, contested),
        "disputed by transfers": (payment.disputed, moved["dispute"] - moved["dispute_won"]),
    }
    for what, (told, summed) in wanted.items():
        if told != summed:
            yield f"Payment {payment.pk} says {told} {what}, its rows come to {summed}."
    held = {refund.hold_id: refund for refund in under_way if refund.hold_id is not None}
    for pk, state in Hold.objects.filter(pk__in=held).exclude(state="open").values_list("pk", "state"):
        yield f"Refund {held[pk].pk} is under way, but its hold is {state}."


@register(13, "contract periods 0…n−1 are contiguous, each with exactly its legs")
def contracts_follow_transfers() -> Iterable[str]:
    rows, last = Contract.objects.order_by("pk"), None
    while batch := list((rows if last is None else rows.filter(pk__gt=last))[:BATCH]):
        yield from _of_contracts(batch)
        last = batch[-1].pk
    refs = Transfer.objects.filter(ref__startswith=CONTRACT_PREFIX).values_list("ref", flat=True).distinct()
    known = {contract.ref for contract in rows.only("pk")}
    for ref in set(refs) - known:
        yield f"There are transfers of {ref}, and no such contract."


def _of_contracts(contracts: list[Contract]) -> Iterable[str]:
    """Compare the periods of these contracts with their numbers and with the transfers that name them."""
    periods: dict[object, list[ContractPeriod]] = defaultdict(list)
    for period in ContractPeriod.objects.filter(contract__in=contracts).order_by("no"):
        periods[period.contract_id].append(period)
    moved: dict[str, dict[str, int]] = defaultdict(dict)
    refs = [contract.ref for contract in contracts]
    for ref, key, amount in Transfer.objects.filter(ref__in=refs).values_list("ref", "key", "amount"):
        moved[ref][key] = amount
    for contract in contracts:
        numbers = [period.no for period in periods[contract.pk]]
        if numbers != list(range(contract.next_no)):
            yield f"Contract {contract.pk} has {len(numbers)} periods, and its next one is {contract.next_no}."
        wanted: dict[str, int] = {}
        for period in periods[contract.pk]:
            period.contract = contract
            wanted |= _legs_of(period)
        found = moved[contract.ref]
        lapsed: Counter[str] = Counter()
        for key in [key for key in found if ":lapse:" in key]:
            lapsed[key.partition(":lapse:")[0]] += found.pop(key)
        if found != wanted:
            odd = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
            yield f"Contract {contract.pk}: {len(odd)} legs are not as its periods say, the first {odd[0]}."
        told = Counter({period.ref: period.lapsed for period in periods[contract.pk] if period.lapsed})
        if told != lapsed:
            yield f"Contract {contract.pk} says that {told.total()} lapsed, its transfers come to {lapsed.total()}."


def _legs_of(period: ContractPeriod) -> dict[str, int]:
    """Give by their keys the transfers that a period must have, but for what lapsed."""
    if period.status != PeriodStatus.PAID:
        return {}
    if period.contract.is_allowance:
        return {period.key("allowance"): period.amount}
    legs = {"hours": period.amount, "owner": period.owner_part, "fee": period.fee}
    return {period.key(leg): amount for leg, amount in legs.items() if amount}


@register(12, "payout paid ⇔ one payout transfer, under way ⇔ one open hold, failed ⇔ none")
def payouts_follow_transfers() -> Iterable[str]:
    rows, last = Payout.objects.select_related("hold").order_by("pk"), None
    while batch := list((rows if last is None else rows.filter(pk__gt=last))[:BATCH]):
        yield from _of_payouts(batch)
        last = batch[-1].pk
    sent = Payout.objects.filter(status__in=sorted(PAYOUT_SENT)).count()
    if sent != (count := booked(kind="payout", word="payout")):
        yield f"{sent} payouts were sent, and {count} were booked."
    # A hold that is closed gave its amount back or was captured, and captures are counted by their transfers.
    under_way = Payout.objects.under_way().count()
    holds = Hold.objects.filter(state="open", purpose="payout", key__startswith="payout:").count()
    if under_way != holds:
        yield f"{under_way} payouts are under way, and {holds} open holds are for them."


def _of_payouts(payouts: list[Payout]) -> Iterable[str]:
    """Compare these payouts with their holds and with the transfers that name them."""
    moved: dict[str, Counter[str]] = defaultdict(Counter)
    kinds = ("payout", "payout_fee", "payout_returned")
    named = Transfer.objects.filter(ref__in=[str(payout.pk) for payout in payouts], kind__in=kinds)
    for ref, kind, amount in named.values_list("ref", "kind", "amount"):
        moved[ref][kind] += amount
    for payout in payouts:
        hold, sums = payout.hold, moved[str(payout.pk)]
        is_sent = payout.status in PAYOUT_SENT
        wanted_state = "captured" if is_sent else "open" if payout.is_under_way else "released"
        if (hold.state, hold.amount) != (wanted_state, payout.amount):
            yield f"Payout {payout.pk} is {payout.status}, and its hold of {hold.amount} is {hold.state}."
        wanted = (payout.net, payout.fee, payout.returned) if is_sent else (0, 0, 0)
        if (sums["payout"], sums["payout_fee"], sums["payout_returned"]) != wanted:
            yield f"Payout {payout.pk} is {payout.status}, and its transfers come to {dict(sums)}."


@register(15, "a statement opens with what the one before it closed with, and the last and what moved since is posted")
def statements_follow_each_other() -> Iterable[str]:
    before = StatementBalance.objects.filter(
        balance=OuterRef("balance"), statement__month__lt=OuterRef("statement__month")
    ).order_by("-statement__month")
    rows = StatementBalance.objects.exclude(balance=None).annotate(closed=Subquery(before.values("closing")[:1]))
    for row in rows.exclude(opening=F("closed")).exclude(closed=None, opening=0).select_related("statement")[:SHOWN]:
        yield f"{row} of {row.statement} opens with {row.opening}, but the one before closed with {row.closed}."
    # The books are the last that is made of a month: before them accounts still wait for their statements.
    last = Statement.objects.filter(kind=StatementKind.BOOKS).order_by("-month").first()
    if last is None:
        return
    since = Transfer.objects.filter(created_at__gte=last.end).order_by()
    came = dict(since.values_list("credit_id").annotate(Sum("amount")))
    went = dict(since.values_list("debit_id").annotate(Sum("amount")))
    made = StatementBalance.objects.filter(balance=OuterRef("pk"), statement__month__lte=last.month)
    newest = Subquery(made.order_by("-statement__month").values("closing")[:1])
    for pk, key, kind, posted, closed in (
        Balance.objects.stored().annotate(closed=newest).values_list("pk", "owner_key", "kind", "posted", "closed")
    ).iterator():
        summed = (closed or 0) + int(came.get(pk, 0)) - int(went.get(pk, 0))
        if summed != posted:
            yield f"{key} {kind} has {posted} posted, but its statements and what moved since come to {summed}."
