"""Money that goes back to who paid it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F

from accounts.ledger.services import Leg, capture, hold, release, transfer
from accounts.models import User
from accounts.services.hours import wallet_balance
from gaas.audit.services import record
from gaas.lib.amounts import show_micro
from gaas.lib.errors import Conflict, DomainError, NotAllowed
from gaas.lib.retry import retried
from payments.choices import PAYMENT_REFUNDABLE, PaymentStatus, Provider, RefundStatus, ReviewStatus
from payments.models import Payment, PaymentEvent, Refund, Review
from payments.providers import PROVIDERS, ProviderRefused, ProviderUnreachable, Seen, provider_of
from payments.services.credit import clearing, locked
from payments.services.debts import repay_debt, take_back
from payments.services.references import ReferenceUsed, as_booked, hash_of
from payments.services.reviews import ask
from payments.services.sent_transactions import serve
from payments.services.two_people import gains, may_refund_alone

AGAIN, DAILY = timedelta(minutes=1), timedelta(days=1)
# Stripe's word for what the account of the key does not have.
UNHEARD_OF = "resource_missing"


class RefundTooLarge(DomainError):
    """Refuse to send back more than came in and was not sent back or contested before."""

    code = "refund_too_large"
    depends_on_state = True


class OwnRefund(NotAllowed):
    """Refuse to let one person alone send much money out."""

    code = "own_refund"


@retried
def request_refund(*, payment_id: UUID, amount: int, reason: str, by: User, now: datetime) -> Refund:
    """Hold the amount in the wallet, and have it sent back.

    Above MANUAL_PAYMENT_LIMIT_USD a day a second person has to say yes first. Raises NotAllowed, Conflict where nothing
    came in or a review is open, RefundTooLarge, InsufficientBalance where it was spent.
    Locks: account → payment → balance.
    """
    _require_clerk(by)
    if not reason.strip():
        raise DomainError("Give a reason: the payer will read it.", code="required", attr="reason")
    payment = locked(payment_id)
    if payment.status not in PAYMENT_REFUNDABLE:
        raise Conflict(f"This payment is {payment.get_status_display().lower()}: nothing can be sent back.")
    if not 0 < amount <= payment.refundable:
        raise RefundTooLarge(
            f"Of this payment at most {show_micro(payment.refundable)} USD can be sent back.", attr="amount_usd"
        )
    if Review.objects.filter(payment=payment, status=ReviewStatus.OPEN).exists():
        raise Conflict("A review of this payment is open: decide on it first, for money may be gone already.")
    if not payment.goes_back_by_hand:
        provider_of(payment.provider).check(amount)
    refund = Refund(payment=payment, amount=amount, reason=reason.strip(), requested_by=by)
    refund.hold = hold(
        balance=wallet_balance(payment.account),
        amount=amount,
        key=f"refund:{refund.pk}",
        purpose="refund",
        ref=str(payment.pk),
    )
    if not payment.goes_back_by_hand and may_refund_alone(refund, by=by, now=now):
        refund.send_at = now
    refund.save(force_insert=True)
    Payment.objects.filter(pk=payment.pk).update(refunding=F("refunding") + amount, updated_at=now)
    PaymentEvent.note(payment.pk, subject=str(refund), new=refund.status, by=by, reason=refund.reason, now=now)
    after = {"payment": str(payment.pk), "amount": amount}
    record(action="refund.request", obj=refund, by=by, after=after, reason=refund.reason, now=now)
    return refund


@retried
def approve_refund(*, refund: Refund, by: User, now: datetime) -> Refund:
    """Let a large refund go, as the second person. Raises NotAllowed, OwnRefund, Conflict."""
    _require_clerk(by)
    with transaction.atomic():
        refund = _locked(refund.pk)
        if refund.status != RefundStatus.REQUESTED or refund.send_at is not None:
            raise Conflict(f"This refund is {refund.get_status_display().lower()} and waits for nobody's yes.")
        if refund.payment.goes_back_by_hand:
            raise Conflict("Send the money yourself, then note the reference under which it went.")
        if refund.requested_by_id == by.pk:
            raise OwnRefund("A second person has to approve the refund that you asked for.")
        if gains(refund.payment.account, by):
            raise OwnRefund("Somebody who is not in this account has to approve its refund.")
        Refund.objects.filter(pk=refund.pk).update(approved_by=by, send_at=now, updated_at=now)
        record(action="refund.approve", obj=refund, by=by, after={"amount": refund.amount}, now=now)
        refund.refresh_from_db()
    return refund


def note_sent(*, refund: Refund, reference: str, by: User, now: datetime) -> Refund:
    """Note under which reference, or by which transaction on a chain, a refund went by hand.

    A large one must be noted by a second person; on a chain the nodes must show the transaction, deep enough. Raises
    NotAllowed, OwnRefund, ReferenceUsed where another refund, or a payout, went under it, Conflict where this one went
    under another, or the chain does not show it.
    """
    _require_clerk(by)
    if refund.payment.provider == Provider.ONCHAIN:
        _require_shown(refund, _as_sent(refund, reference)[1])
    return _note_sent(refund_id=refund.pk, reference=reference, by=by, now=now)


def _require_shown(refund: Refund, tx_hash: str) -> None:
    """Ask the chain; of one that is not set up any more nobody can tell, and the word of people counts."""
    chain: Any = PROVIDERS.get(Provider.ONCHAIN)
    if chain is None or chain.chain.chain_id != refund.payment.chain.chain_id:
        return
    try:
        why = chain.why_not_sent(refund, tx_hash)
    except ProviderUnreachable as silent:
        raise Conflict(f"{silent} Until it does nobody can tell that this was sent; try again later.") from silent
    if why:
        raise Conflict(why, attr="reference")


@retried
def _note_sent(*, refund_id: UUID, reference: str, by: User, now: datetime) -> Refund:
    refund = _locked(refund_id)
    if not refund.payment.goes_back_by_hand:
        raise Conflict("The provider sends this refund and tells how it went.")
    if gains(refund.payment.account, by):
        raise OwnRefund("Somebody who is not in this account has to note that its refund was sent.")
    if refund.requested_by_id == by.pk and not may_refund_alone(refund, by=by, now=now):
        raise OwnRefund("A second person has to note that this refund was sent.")
    method, reference = _as_sent(refund, reference)
    if refund.status == RefundStatus.SUCCEEDED and (refund.method, refund.reference) != (method, reference):
        raise Conflict(f"This refund was sent under {refund.reference}: what went under {reference} is one too many.")
    try:
        with transaction.atomic():
            if refund.payment.provider == Provider.ONCHAIN and refund.status == RefundStatus.REQUESTED:
                serve(chain_id=refund.payment.chain.chain_id, tx_hash=reference, refund=refund)
            return _succeeded(refund_id=refund.pk, by=by, now=now, method=method, reference=reference, approved_by=by)
    except IntegrityError:
        raise ReferenceUsed(f"Another refund went under {reference}.", attr="reference") from None


@retried
def cancel_refund(*, refund: Refund, by: User, reason: str, now: datetime) -> Refund:
    """Take a refund back before it is sent; the wallet may spend the amount again."""
    _require_clerk(by)
    with transaction.atomic():
        refund = _locked(refund.pk)
        if refund.status != RefundStatus.REQUESTED:
            raise Conflict(f"This refund is {refund.get_status_display().lower()}: it cannot be taken back.")
        refund.cancel(by=by, now=now, reason=reason)
        _let_go(refund, now)
    return refund


def give_way(payment: Payment, *, reason: str, now: datetime) -> None:
    """Take back what was asked for and not sent of a locked payment; what is under way can no more be stopped."""
    for refund in payment.refunds.select_for_update(no_key=True, of=("self",)).filter(status=RefundStatus.REQUESTED):
        refund.payment = payment
        refund.cancel(by=None, now=now, reason=reason)
        _let_go(refund, now)
    payment.refresh_from_db(fields=["refunding"])


def send_refund(*, refund_id: UUID, now: datetime) -> Refund:
    """Call the provider about a refund that is due, and store its answer; safe to call any number of times.

    1. Commit to SENDING. 2. Call with our key, outside any transaction. 3. Store the answer. No answer is UNKNOWN,
    never failed: the money may be on its way, so it stays held and the same call is made again.
    """
    refund = Refund.objects.select_related("payment").get(pk=refund_id)
    due = Refund.objects.filter(pk=refund.pk, send_at=refund.send_at, send_at__lte=now)
    if refund.send_at is None or not due.update(send_at=now + AGAIN, updated_at=now):
        return refund
    refund.refresh_from_db()
    was_called = refund.sent_at is not None
    refund.send(by=None, now=now, again_at=now + AGAIN)
    try:
        provider_id, seen = provider_of(refund.payment.provider).refund(refund)
    except ProviderRefused as refused:
        if was_called and refused.code == UNHEARD_OF:
            return _of_another_account(refund, refused.detail, now)
        return fail_refund(refund_id=refund.pk, detail=refused.detail, now=now)
    except ProviderUnreachable as silent:
        again_at = now + max(AGAIN, (now - refund.created_at) / 4)
        refund.lose_sight(detail=str(silent) or "The provider did not answer.", now=now, again_at=again_at)
        return refund
    if provider_id:
        Refund.objects.filter(pk=refund.pk).update(provider_id=provider_id, updated_at=now)
    return apply_refund(refund_id=refund.pk, seen=seen, now=now)


def _of_another_account(refund: Refund, detail: str, now: datetime) -> Refund:
    """Give nothing back: that this account knows nothing of the payment does not say what another one sent."""
    ask(
        key=f"refund:{refund.pk}:refund_other_account",
        provider=refund.payment.provider,
        code="refund_other_account",
        detail="The provider may have sent this refund, and knows nothing of its payment by now.",
        facts={"refund": str(refund.pk), "told": detail},
        payment=None,
    )
    refund.lose_sight(detail=detail, now=now, again_at=now + DAILY)
    return refund


@retried
def settle_refund(*, refund: Refund, was_sent: bool, reason: str, by: User, now: datetime) -> Refund:
    """End a refund whose end its provider does not tell: sent, or not sent and in the wallet again.

    Raises NotAllowed, OwnRefund for who asked for it or has a part in the account, Conflict unless it is UNKNOWN.
    """
    _require_clerk(by)
    if not reason.strip():
        raise DomainError("Give a reason: say what the provider shows.", code="required", attr="reason")
    refund = _locked(refund.pk)
    if refund.status != RefundStatus.UNKNOWN:
        raise Conflict(f"This refund is {refund.get_status_display().lower()}: nobody has to find out how it went.")
    if refund.requested_by_id == by.pk or gains(refund.payment.account, by):
        raise OwnRefund("Somebody who did not ask for it and is not in this account has to say how it went.")
    if was_sent:
        return _succeeded(refund_id=refund.pk, by=by, now=now, reason=reason.strip())
    return fail_refund(refund_id=refund.pk, detail=reason.strip(), by=by, now=now)


def apply_refund(*, refund_id: UUID, seen: Seen, now: datetime) -> Refund:
    """Do once what a provider's present word about a refund asks for."""
    if seen.state == "succeeded":
        return _succeeded(refund_id=refund_id, by=None, now=now)
    if seen.state in ("failed", "cancelled"):
        return fail_refund(refund_id=refund_id, detail=seen.detail or "The provider could not send it.", now=now)
    return Refund.objects.get(pk=refund_id)


@retried
def _succeeded(*, refund_id: UUID, by: User | None, now: datetime, **fields: object) -> Refund:
    """Capture what was held; once."""
    refund = _locked(refund_id)
    if refund.status == RefundStatus.SUCCEEDED:
        return refund
    payment = refund.payment
    if refund.status == RefundStatus.FAILED and by is None:
        # Its amount was given back, by a person's word or the provider's: the payer may have both now.
        ask(
            key=f"refund:{refund.pk}:refund_sent_after_all",
            provider=payment.provider,
            code="refund_sent_after_all",
            detail="This refund was noted as not sent, and was.",
            facts={"refund": str(refund.pk), "provider_id": refund.provider_id},
            payment=payment,
        )
        return refund
    refund.succeed(by=by, now=now, **fields)
    leg = Leg(
        credit=clearing(payment.provider),
        amount=refund.amount,
        kind="refund",
        key=f"refund:{refund.pk}:sent",
        ref=str(payment.pk),
    )
    capture(hold_id=_hold_of(refund), legs=[leg], final=True, actor="" if by is None else str(by.pk))
    Payment.objects.filter(pk=payment.pk).update(
        refunding=F("refunding") - refund.amount, refunded=F("refunded") + refund.amount, updated_at=now
    )
    _follow(payment, now)
    return refund


@retried
def fail_refund(*, refund_id: UUID, detail: str, by: User | None = None, now: datetime) -> Refund:
    """Give the amount back to the wallet: out of its hold, or as a transfer where it had been sent."""
    refund = _locked(refund_id)
    if refund.status in (RefundStatus.FAILED, RefundStatus.CANCELLED):
        return refund
    payment, was_sent = refund.payment, refund.status == RefundStatus.SUCCEEDED
    refund.fail(detail=detail, by=by, now=now)
    if not was_sent:
        _let_go(refund, now)
        return refund
    transfer(
        key=f"refund:{refund.pk}:failed",
        kind="refund_failed",
        debit=clearing(payment.provider),
        credit=wallet_balance(payment.account),
        amount=refund.amount,
        ref=str(payment.pk),
    )
    repay_debt(account=payment.account, most=refund.amount, key=f"refund:{refund.pk}:repaid", ref=str(payment.pk))
    Payment.objects.filter(pk=payment.pk).update(refunded=F("refunded") - refund.amount, updated_at=now)
    _follow(payment, now)
    return refund


@retried
def note_foreign_refund(*, payment_id: UUID, provider_id: str, amount: int, now: datetime) -> Refund | None:
    """Book a refund that somebody made at the provider: the wallet pays what it has, the rest becomes debt.

    Gives None where it is one of ours, or more than came in: the caller puts that before a person.
    """
    payment = locked(payment_id)
    known = payment.refunds.filter(provider_id=provider_id).first()
    if known is not None:
        return known
    if payment.status not in PAYMENT_REFUNDABLE or not 0 < amount <= payment.refundable:
        return None
    refund = Refund(
        payment=payment,
        amount=amount,
        reason="Made at the provider.",
        status=RefundStatus.SUCCEEDED,
        is_foreign=True,
        provider_id=provider_id,
        sent_at=now,
        ended_at=now,
    )
    refund.save(force_insert=True)
    PaymentEvent.note(payment.pk, subject=str(refund), new=refund.status, by=None, reason=refund.reason, now=now)
    take_back(
        account=payment.account,
        amount=amount,
        to=clearing(payment.provider),
        key=f"refund:{refund.pk}",
        kind="refund",
        ref=str(payment.pk),
    )
    Payment.objects.filter(pk=payment.pk).update(refunded=F("refunded") + amount, updated_at=now)
    _follow(payment, now)
    return refund


def _as_sent(refund: Refund, reference: str) -> tuple[str, str]:
    """Give the way a refund by hand went, and its reference, as they are stored."""
    payment = refund.payment
    if payment.provider == Provider.ONCHAIN:
        return f"chain {payment.chain.chain_id}", hash_of(reference, attr="reference")
    return as_booked(payment.method, reference)


def _let_go(refund: Refund, now: datetime) -> None:
    release(hold_id=_hold_of(refund))
    Payment.objects.filter(pk=refund.payment_id).update(refunding=F("refunding") - refund.amount, updated_at=now)


def _hold_of(refund: Refund) -> UUID:
    if refund.hold_id is None:
        raise Conflict("This refund was made at the provider: nothing is held for it.")
    return refund.hold_id


def _follow(payment: Payment, now: datetime) -> None:
    payment.refresh_from_db()
    if payment.status in PAYMENT_REFUNDABLE or payment.status == PaymentStatus.REFUNDED:
        if payment.status == PaymentStatus.DISPUTE_WON and payment.standing == PaymentStatus.SUCCEEDED:
            # All of it is there, and that it was contested once is the more there is to say.
            return
        payment.stand_as(payment.standing, by=None, now=now)


def _locked(refund_id: UUID) -> Refund:
    payment = locked(Refund.objects.values_list("payment_id", flat=True).get(pk=refund_id))
    refund = Refund.objects.select_for_update(no_key=True, of=("self",)).get(pk=refund_id)
    refund.payment = payment
    return refund


def _require_clerk(by: User) -> None:
    if not by.has_perm("payments.refund_payment"):
        raise NotAllowed("Sending payments back takes the permission for it.")
