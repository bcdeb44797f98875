"""Money that people saw come in: a bank transfer, cash, an internal booking."""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction

from accounts.models import Account, User
from accounts.services.authority import require_open
from accounts.services.hours import check_pays_for_itself
from gaas.audit.services import record
from gaas.lib.amounts import show_micro
from gaas.lib.errors import Conflict, DomainError, NotAllowed
from gaas.lib.retry import retried
from payments.choices import Provider
from payments.models import Payment, PaymentEvent
from payments.services.begin import check_amount, new_payment
from payments.services.credit import Arrived, credit, locked
from payments.services.references import ReferenceUsed, as_booked
from payments.services.two_people import gains, may_credit_alone


class OwnDraft(NotAllowed):
    """Refuse to let one person alone make money out of nothing."""

    code = "own_draft"


@retried
def record_payment(
    *, account: Account, amount: int, method: str, reference: str, by: User, now: datetime, reason: str = ""
) -> Payment:
    """Draft what came in by `method` under `reference`; up to MANUAL_PAYMENT_LIMIT_USD a day it is credited at once.

    Above that, and where the recorder may spend it, a second person has to approve. Raises NotAllowed without the
    permission, ReferenceUsed, AmountOutOfBounds, AccountClosed, PaysFromParent.
    """
    _require_clerk(by)
    require_open(account)
    check_pays_for_itself(account)
    check_amount(amount)
    method, reference = as_booked(method, reference)
    with transaction.atomic():
        try:
            with transaction.atomic():
                payment = new_payment(
                    account=account,
                    provider=Provider.MANUAL,
                    amount=amount,
                    created_by=by,
                    drafted_by=by,
                    method=method,
                    reference=reference,
                )
        except IntegrityError:
            raise _used(method, reference) from None
        payment.wait_for(by=by, now=now, reason=reason or f"Recorded: {method} {reference}.")
        return _credited_if_small(locked(payment.pk), by, now)


@retried
def confirm_payment(*, payment: Payment, amount: int, method: str, reference: str, by: User, now: datetime) -> Payment:
    """Note that what an owner announced has come in; else as `record_payment`. A different amount is what counts."""
    _require_clerk(by)
    check_amount(amount)
    method, reference = as_booked(method, reference)
    with transaction.atomic():
        payment = locked(payment.pk)
        if payment.provider != Provider.MANUAL or payment.is_paid or payment.reference:
            raise Conflict("Only a manual payment that waits for its money can be confirmed.")
        try:
            with transaction.atomic():
                Payment.objects.filter(pk=payment.pk).update(
                    method=method, reference=reference, amount=amount, drafted_by=by, expires_at=None, updated_at=now
                )
        except IntegrityError:
            raise _used(method, reference) from None
        before = {"amount": payment.amount}
        payment = locked(payment.pk)
        after = {"amount": amount, "method": method, "reference": reference}
        record(action="payment.confirm", obj=payment, by=by, before=before, after=after, now=now)
        return _credited_if_small(payment, by, now)


@retried
def approve_payment(*, payment: Payment, by: User, now: datetime) -> Payment:
    """Credit a draft as the second person. Raises NotAllowed, OwnDraft for its drafter, Conflict if none waits."""
    _require_clerk(by)
    with transaction.atomic():
        payment = locked(payment.pk)
        _require_draft(payment)
        if payment.drafted_by_id == by.pk:
            raise OwnDraft("A second person has to approve what you recorded.")
        if gains(payment.account, by):
            raise OwnDraft("Somebody who cannot spend this money has to approve it.")
        return _credited(payment, by, now)


def reject_payment(*, payment: Payment, by: User, reason: str, now: datetime) -> Payment:
    """Withdraw a draft with a reason; its reference may be used again. Raises as `approve_payment` does."""
    _require_clerk(by)
    if not reason.strip():
        raise DomainError("Give a reason: it stays in the record.", code="required", attr="reason")
    with transaction.atomic():
        payment = locked(payment.pk)
        _require_draft(payment)
        Payment.objects.filter(pk=payment.pk).update(reference="", updated_at=now)
        detail = f"{reason.strip()} (reference {payment.reference})"
        if payment.is_open:
            payment.fail(code="rejected", detail=detail, by=by, now=now)
        else:
            # It was given up before; that it did not come in changes nothing about that.
            PaymentEvent.note(payment.pk, old=payment.status, new=payment.status, by=by, reason=detail, now=now)
        payment.reference = ""
    return payment


def _credited_if_small(payment: Payment, by: User, now: datetime) -> Payment:
    return _credited(payment, by, now) if may_credit_alone(payment, by=by, now=now) else payment


def _credited(payment: Payment, by: User, now: datetime) -> Payment:
    return credit(
        payment_id=payment.pk,
        arrived=Arrived(payment.amount),
        by=by,
        now=now,
        reason=f"Came in: {payment.method} {payment.reference}.",
        approved_by=by,
    )


def _require_clerk(by: User) -> None:
    if not by.has_perm("payments.add_payment"):
        raise NotAllowed("Recording payments takes the permission for it.")


def _require_draft(payment: Payment) -> None:
    if not payment.is_draft:
        raise Conflict(f"This payment is {payment.get_status_display().lower()}: there is no draft to decide on.")


def _used(method: str, reference: str) -> ReferenceUsed:
    before = Payment.objects.filter(method=method, reference=reference).first()
    told = f" for {show_micro(before.amount)} USD on {before.created_at:%Y-%m-%d}" if before else ""
    return ReferenceUsed(f"{method} {reference} was recorded before{told}.", attr="reference")
