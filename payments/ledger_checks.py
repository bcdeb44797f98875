"""What the books must say about payments: invariant 11 of the ledger's check."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from accounts.ledger.check import register
from accounts.ledger.models import Hold, Transfer
from payments.choices import REFUND_UNDER_WAY, RefundStatus
from payments.models import Dispute, Payment, Refund, Review

BATCH = 500


@register(11, "payment credited = its top-up transfers; refunded + disputed <= received")
def payments_follow_transfers() -> Iterable[str]:
    rows, last = Payment.objects.order_by("pk"), None
    while batch := list((rows if last is None else rows.filter(pk__gt=last))[:BATCH]):
        yield from _of_batch(batch)
        last = batch[-1].pk
    paid = Payment.objects.filter(received__gt=0).count()
    booked = Transfer.objects.filter(kind="topup", key__startswith="payment:").count()
    if paid != booked:
        yield f"{paid} payments came in, and {booked} top-ups were booked."


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
