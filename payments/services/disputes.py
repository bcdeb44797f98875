"""Payments that the payer's bank takes back."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db.models import F

from accounts.ledger.services import transfer
from accounts.services.hours import wallet_balance
from gaas.lib.amounts import show_micro
from gaas.lib.retry import retried
from payments.choices import PAYMENT_PAID, DisputeStatus, PaymentStatus
from payments.models import Dispute, Payment, PaymentEvent
from payments.services.credit import clearing, locked
from payments.services.debts import repay_debt, take_back
from payments.services.owners import write_to_owners
from payments.services.refunds import give_way


@retried
def open_dispute(*, payment_id: UUID, provider_id: str, amount: int, reason: str, now: datetime) -> Dispute | None:
    """Take a contested amount out of the account, once: what is free there, and the rest it owes.

    Gives None where nothing came in, or more is contested than is left of it: the caller puts that before a
    person. Locks: account → payment → balances.
    """
    payment = locked(payment_id)
    known = Dispute.objects.filter(provider_id=provider_id).first()
    if known is not None:
        return known
    if payment.status not in PAYMENT_PAID:
        return None
    if amount > payment.refundable:
        give_way(payment, reason="The payment is contested.", now=now)
    if not 0 < amount <= payment.refundable:
        return None
    dispute = Dispute(payment=payment, provider_id=provider_id, amount=amount, reason=reason[:200], opened_at=now)
    parts = take_back(
        account=payment.account,
        amount=amount,
        to=clearing(payment.provider),
        key=f"dispute:{dispute.pk}",
        kind="dispute",
        ref=str(payment.pk),
    )
    dispute.from_wallet, dispute.from_earnings, dispute.from_debt = parts["wallet"], parts["earnings"], parts["debt"]
    dispute.save(force_insert=True)
    Payment.objects.filter(pk=payment.pk).update(disputed=F("disputed") + amount, updated_at=now)
    payment.refresh_from_db()
    PaymentEvent.note(payment.pk, subject=str(dispute), new=dispute.status, by=None, reason=reason, now=now)
    dispute.tell(now=now)
    payment.stand_as(PaymentStatus.DISPUTED, by=None, now=now, reason=reason)
    _tell_owners(dispute, payment)
    return dispute


@retried
def close_dispute(*, provider_id: str, won: bool, now: datetime) -> Dispute | None:
    """End a dispute, once. Won: the amount comes back, to the debt first. Lost: it stays gone.

    Gives None for a dispute that nobody opened.
    """
    found = Dispute.objects.filter(provider_id=provider_id).first()
    if found is None:
        return None
    payment = locked(found.payment_id)
    dispute = Dispute.objects.select_for_update(no_key=True, of=("self",)).get(pk=found.pk)
    dispute.payment = payment
    if dispute.status != DisputeStatus.OPEN:
        return dispute
    if not won:
        dispute.lose(now=now)
        _stand(payment, PaymentStatus.DISPUTE_LOST, now)
        return dispute
    dispute.win(now=now)
    transfer(
        key=f"dispute:{dispute.pk}:won",
        kind="dispute_won",
        debit=clearing(payment.provider),
        credit=wallet_balance(payment.account),
        amount=dispute.amount,
        ref=str(payment.pk),
    )
    repay_debt(account=payment.account, most=dispute.amount, key=f"dispute:{dispute.pk}:repaid", ref=str(payment.pk))
    Payment.objects.filter(pk=payment.pk).update(disputed=F("disputed") - dispute.amount, updated_at=now)
    payment.refresh_from_db()
    _stand(payment, PaymentStatus.DISPUTE_WON, now)
    return dispute


def _stand(payment: Payment, status: PaymentStatus, now: datetime) -> None:
    """Let a payment be contested for as long as one dispute of it is open."""
    if not payment.disputes.filter(status=DisputeStatus.OPEN).exists():
        payment.stand_as(status, by=None, now=now)


def _tell_owners(dispute: Dispute, payment: Payment) -> None:
    write_to_owners(
        payment.account,
        subject=f"A payment into {payment.account.name} is contested",
        template="mail/dispute_opened.txt",
        context={
            "amount": show_micro(dispute.amount),
            "paid_on": payment.paid_at,
            "owed": show_micro(dispute.from_debt) if dispute.from_debt else "",
        },
        key=f"dispute:{dispute.pk}",
    )
