"""Begin a payment, and follow it with its provider until it is decided."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts.choices import Role
from accounts.models import Account, User
from accounts.services.authority import require_open
from accounts.services.hours import check_pays_for_itself
from gaas.lib.amounts import parse_micro, show_micro
from gaas.lib.errors import Conflict, DomainError, NotAllowed
from gaas.lib.retry import retried
from payments.choices import PaymentStatus, Provider
from payments.models import Payment, PaymentEvent
from payments.providers import Begun, ProviderRefused, ProviderUnreachable, Seen, provider_of
from payments.services.chain import ask_for_units, note_begin, note_look
from payments.services.credit import Arrived, credit, locked

FIRST_LOOK = timedelta(seconds=20)
LONGEST_LOOK = timedelta(hours=1)
# How long after its beginning what was given up is still looked for.
LATEST_LOOK = timedelta(days=90)


class AmountOutOfBounds(DomainError):
    """Refuse a payment that is too small to be worth its fee, or too large for one step."""

    code = "amount_out_of_bounds"


def start_payment(
    *, account: Account, provider: str, amount: int, by: User, now: datetime, method: str = ""
) -> Payment:
    """Ask for money into an account's wallet; the provider is told after the commit.

    `method` is one of the provider's ways to pay, its first by default. Raises NotAllowed for less than an owner,
    AmountOutOfBounds, AccountClosed, PaysFromParent, ProviderNotSetUp, and what the provider has against the amount.
    """
    role = account.role_of(by)
    if role is None or role < Role.OWNER:
        raise NotAllowed("Paying into an account takes the role of an owner of it.", attr="account")
    require_open(account)
    check_pays_for_itself(account)
    check_amount(amount)
    is_manual = provider == Provider.MANUAL
    if not is_manual:
        chosen = provider_of(provider)
        chosen.check(amount)
        method = method or chosen.methods[0]
    if method and (is_manual or method not in chosen.methods):
        raise DomainError("This provider cannot be paid in this way.", code="invalid_choice", attr="method")
    with transaction.atomic():
        payment = new_payment(
            account=account,
            provider=provider,
            amount=amount,
            created_by=by,
            method=method,
            expires_at=now + timedelta(seconds=settings.PAYMENT_EXPIRY_SECONDS),
            look_at=None if is_manual else now,
        )
        if provider == Provider.ONCHAIN:
            ask_for_units(payment, chosen)
        if is_manual:
            payment.wait_for(
                by=by, now=now, instructions={"reference": f"GAAS-{payment.pk.hex[-10:].upper()}"}, reason="Asked for."
            )
        else:
            PaymentEvent.note(payment.pk, new=payment.status, by=by, reason="Asked for.", now=now)
    return payment


def new_payment(**fields: object) -> Payment:
    """Store a payment with a key of its own, by which the provider tells a repeated call from a second payment."""
    payment = Payment(**fields)
    payment.provider_key = f"gaas-{payment.pk}"
    payment.save(force_insert=True)
    return payment


def check_amount(amount: int) -> None:
    """Raise AmountOutOfBounds unless one payment may ask for so much."""
    least, most = parse_micro(settings.PAYMENT_MIN_USD), parse_micro(settings.PAYMENT_MAX_USD)
    if not least <= amount <= most:
        raise AmountOutOfBounds(
            f"One payment is from {show_micro(least)} to {show_micro(most)} USD.", attr="amount_usd"
        )


def follow(*, payment_id: UUID, now: datetime) -> Payment:
    """Bring one payment a step further by its provider's word. Safe to call at any time, any number of times.

    1. Put the next look off, so that of many callers one asks. 2. Ask, outside any transaction. 3. Store the answer.
    A crash between 2 and 3 asks again: calls carry our key, and the effect of an answer happens once.
    """
    try:
        return ask_provider(payment_id=payment_id, now=now)
    except ProviderUnreachable:
        return Payment.objects.select_related("account").get(pk=payment_id)


def ask_provider(*, payment_id: UUID, now: datetime) -> Payment:
    """Do as `follow`, and raise ProviderUnreachable where nothing was learned."""
    payment = Payment.objects.select_related("account").get(pk=payment_id)
    provider = provider_of(payment.provider)
    claim = Payment.objects.filter(pk=payment.pk, look_at=payment.look_at, look_at__lte=now)
    if payment.look_at is None or not claim.update(look_at=now + _wait(payment, now), updated_at=now):
        return payment
    try:
        if payment.status == PaymentStatus.CREATED:
            return _begun(payment, provider.begin(payment), now)
        seen = provider.look(payment) if payment.is_open else provider.give_up(payment)
    except ProviderRefused as refused:
        seen = Seen("failed", failure=refused.code, detail=refused.detail)
    is_over = not payment.is_open and now > payment.created_at + LATEST_LOOK
    if is_over and seen.state == "pending" and not seen.facts.get("confirmations"):
        seen = Seen("cancelled", facts=seen.facts)
    return _told(payment, seen, now)


@retried
def _told(payment: Payment, seen: Seen, now: datetime) -> Payment:
    """Store what was learned, all or nothing. Locks: account → payment → what it asks for on a chain."""
    applied = apply(payment_id=payment.pk, seen=seen, now=now)
    note_look(applied, seen, now)
    if seen.state == "pending" and seen.facts.get("confirmations"):
        # It is there and counts up while its payer watches, however old the payment is.
        Payment.objects.filter(pk=payment.pk, look_at__gt=now + FIRST_LOOK).update(look_at=now + FIRST_LOOK)
    return applied


def apply(*, payment_id: UUID, seen: Seen, now: datetime) -> Payment:
    """Do once what a provider's present word about a payment asks for. A late success counts whatever we thought."""
    if seen.state == "succeeded":
        arrived = Arrived(seen.amount, seen.currency, doubt=seen.failure, detail=seen.detail, facts=seen.facts)
        named = {"provider_id": seen.provider_id} if seen.provider_id else {}
        return credit(payment_id=payment_id, arrived=arrived, by=None, now=now, **named)
    with transaction.atomic():
        payment = locked(payment_id)
        if not payment.is_open:
            if seen.state != "pending":
                # Both sides have given it up: nobody has to be asked again.
                Payment.objects.filter(pk=payment_id).update(look_at=None, updated_at=now)
            return payment
        if seen.state == "failed":
            payment.fail(
                code=seen.failure or "declined", detail=seen.detail or "The provider declined it.", by=None, now=now
            )
        elif seen.state == "cancelled":
            payment.cancel(by=None, now=now, reason=seen.detail or "Cancelled at the provider.")
    return payment


def cancel_payment(*, payment: Payment, by: User, now: datetime) -> Payment:
    """Give up a payment that nobody paid; its provider is told after the commit.

    Should money have come at this very moment it is credited all the same. Raises NotAllowed for less than an
    owner, and Conflict where it was paid or ended before.
    """
    role = payment.account.role_of(by)
    if role is None or role < Role.OWNER:
        raise NotAllowed("Cancelling a payment takes the role of an owner of its account.")
    with transaction.atomic():
        payment = locked(payment.pk)
        if not payment.is_open:
            raise Conflict(f"This payment is {payment.get_status_display().lower()} and cannot be cancelled.")
        payment.cancel(by=by, now=now, reason="Cancelled by the payer.")
    return payment


def _begun(payment: Payment, begun: Begun, now: datetime) -> Payment:
    with transaction.atomic():
        payment = locked(payment.pk)
        if payment.status == PaymentStatus.CREATED:
            payment.wait_for(by=None, now=now, provider_id=begun.provider_id, instructions=begun.instructions)
            note_begin(payment, begun, now)
        elif begun.provider_id and not payment.provider_id:
            # Given up while it was begun there: it is to be given up there too.
            Payment.objects.filter(pk=payment.pk).update(provider_id=begun.provider_id, look_at=now, updated_at=now)
    return payment


def _wait(payment: Payment, now: datetime) -> timedelta:
    """Ask soon at first, then after a tenth of the payment's age, at most each hour."""
    return min(max(FIRST_LOOK, (now - payment.created_at) / 10), LONGEST_LOOK)
