"""Payouts of which a provider tells nothing that could be acted on: a person finds out there, and says how it went."""

from __future__ import annotations

from datetime import datetime

from accounts.models import User
from gaas.lib.errors import Conflict, DomainError
from gaas.lib.retry import retried
from payments.choices import PayoutStatus
from payments.models import Payout
from payments.services.payout_sending import arrived, failed, require_sender
from payments.services.payouts import OwnPayout, locked_payout, refuse_own


@retried
def settle_payout(*, payout: Payout, was_sent: bool, reason: str, by: User, now: datetime) -> Payout:
    """End a payout whose end its provider does not tell: paid as agreed to, or not sent and free again.

    For what stays UNKNOWN: the provider shows another amount, or is not ours to ask any more. What the provider sent
    more or less is a matter of its review. Raises NotAllowed, OwnPayout for who asked for it, agreed to it or
    has a part in the account, Conflict for one that is not UNKNOWN. Locks: account → payout → hold → balances.
    """
    require_sender(by)
    if not reason.strip():
        raise DomainError("Give a reason: say what the provider shows.", code="required", attr="reason")
    payout = locked_payout(payout.pk)
    if payout.status != PayoutStatus.UNKNOWN:
        raise Conflict(f"This payout is {payout.get_status_display().lower()}: nobody has to find out how it went.")
    refuse_own(payout, by, "settle")
    if payout.approved_by_id == by.pk:
        raise OwnPayout("A second person has to say how the payout that you agreed to went.")
    if was_sent:
        return arrived(payout_id=payout.pk, by=by, now=now, reason=reason.strip())
    return failed(payout_id=payout.pk, code="not_sent", detail=reason.strip(), by=by, now=now)
