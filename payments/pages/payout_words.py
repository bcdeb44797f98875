"""Payouts in words for people."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.urls import reverse

from gaas.lib.amounts import show_micro
from payments import subjects
from payments.choices import PayoutStatus, Provider
from payments.models import Payout

KINDS = {
    Provider.STRIPE: "An account at Stripe",
    Provider.ONCHAIN: "An address on the chain",
    Provider.MANUAL: "A bank account",
}


def said_of(payout: Payout) -> str:
    """Say in a sentence or two where a payout stands, and for what it waits."""
    if payout.status == PayoutStatus.SENDING:
        return _sending(payout)
    if payout.status == PayoutStatus.APPROVED and payout.goes_by_hand:
        return "Staff agreed; now one of them has to send it. You may take it back until somebody begins to."
    if payout.status == PayoutStatus.PAID:
        fee = f" after a fee of {usd(payout.fee)}" if payout.fee else ""
        under = f", reference {payout.reference}" if payout.reference else ""
        back = f" {usd(payout.returned)} of it came back." if payout.returned else ""
        return f"Sent on {payout.paid_at:%-d %B %Y}: {usd(payout.net)}{fee}{under}.{back}"
    return {
        PayoutStatus.REQUESTED: "Waits for a member of staff to agree. You may take it back until it is sent.",
        PayoutStatus.APPROVED: "Staff agreed; it is sent within a minute.",
        PayoutStatus.UNKNOWN: "It was sent off, and nobody has confirmed yet that it went. They are asked again; the "
        "amount stays held until that is known.",
        PayoutStatus.FAILED: f"Not sent: {payout.failure_detail} The amount is among the earnings again.",
        PayoutStatus.REJECTED: f"Staff did not agree: {payout.failure_detail} The amount is among the earnings again.",
        PayoutStatus.CANCELLED: "Taken back before it was sent.",
        PayoutStatus.RETURNED: f"{usd(payout.returned)} came back and is among the earnings again. "
        f"{payout.failure_detail}",
    }[PayoutStatus(payout.status)]


def paid_out(refs: Collection[str], user: Any) -> dict[str, subjects.Subject]:
    """Name the payouts that holds are for."""
    seen = Payout.objects.visible_to(user).filter(pk__in=subjects.ids(refs))
    return {
        str(row.pk): subjects.Subject("A payout", reverse("account_earnings", args=[row.account_id])) for row in seen
    }


def usd(micro: int) -> str:
    """Write dollars with two decimals where that says all."""
    return f"{show_micro(micro)[:-4] if micro % 10_000 == 0 else show_micro(micro)} USD"


def _sending(payout: Payout) -> str:
    if not payout.goes_by_hand:
        return "It is being sent at this moment."
    if payout.confirmations:
        wanted = payout.instructions.get("confirmations", "?")
        return f"Sent on the chain: {payout.confirmations} of {wanted} confirmations."
    if payout.provider_id:
        return f"Sent on the chain by {payout.reference}; the chain is asked whether it is there."
    return "A member of staff is sending it. It cannot be taken back any more."
