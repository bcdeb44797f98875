"""Payouts: asked for by an owner, agreed to by somebody else, or taken back. What sends them is in payout_sending."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts.choices import Role
from accounts.ledger.models import Balance
from accounts.ledger.services import InsufficientBalance, hold, open_balance, release
from accounts.models import Account, User
from accounts.services.authority import require_open
from accounts.services.register import check_verified
from gaas.lib.amounts import parse_micro, show_micro
from gaas.lib.errors import Conflict, DomainError, NotAllowed
from gaas.lib.retry import retried
from payments.choices import PAYOUT_WAITING, PayoutStatus, Provider
from payments.models import Payout, PayoutDestination
from payments.providers.stripe import CENT, NotWholeCents
from payments.services.begin import AmountOutOfBounds
from payments.services.debts import owed_by
from payments.services.destinations import require_owner
from payments.services.earnings import EARNINGS, PENDING
from payments.services.owners import write_to_owners
from payments.services.two_people import gains


class OwnPayout(NotAllowed):
    """Refuse to let one person alone send money out, or to somebody whose money it is."""

    code = "own_payout"


class DestinationTooNew(Conflict):
    """Refuse to send money where nobody could object to yet."""

    code = "destination_too_new"


class FeeExceedsAmount(DomainError):
    """Refuse a payout of which nothing would arrive."""

    code = "fee_exceeds_amount"


class NotEarned(DomainError):
    """Refuse a payout of more than the earnings have free."""

    code = "insufficient_funds"
    depends_on_state = True


class AccountOwes(DomainError):
    """Refuse a payout that would leave less than the account owes."""

    code = "account_owes"
    depends_on_state = True


def earnings_of(account: Account) -> Balance:
    """Give the balance that an account may take out."""
    return open_balance(asset="USD", kind=EARNINGS, owner_key=account.owner_key)


def payout_fee() -> int:
    """Give what stays with the platform of each payout, in micro-dollars."""
    return parse_micro(settings.PAYOUT_FEE_USD)


@retried
def request_payout(*, destination: PayoutDestination, amount: int, by: User, now: datetime) -> Payout:
    """Hold an amount of the earnings, to be sent once somebody else agrees.

    Raises NotAllowed for less than an owner, EmailNotVerified, AccountClosed, DestinationTooNew, Conflict for one that
    is out of use, AmountOutOfBounds, NotWholeCents, FeeExceedsAmount, AccountOwes, NotEarned.
    Locks: account → balance.
    """
    account = destination.account
    require_owner(account, by, "Asking for a payout")
    check_verified(by, is_needed=True)
    require_open(account)
    fee = payout_fee()
    check_payout(kind=destination.kind, amount=amount, fee=fee)
    Account.objects.select_for_update(no_key=True, of=("self",)).get(pk=account.pk)
    check_destination(destination, now=now)
    balance = earnings_of(account)
    owed = owed_by(account)
    if owed and amount > balance.available - owed:
        raise AccountOwes(
            f"The account owes {show_micro(owed)} USD: so much of its earnings stays. Pay it first, or ask for less.",
            attr="amount_usd",
        )
    payout = Payout(
        account=account, destination=destination, provider=destination.kind, amount=amount, fee=fee, requested_by=by
    )
    payout.provider_key = f"gaas-payout-{payout.pk}"
    try:
        payout.hold = hold(
            balance=balance, amount=amount, key=f"payout:{payout.pk}", purpose="payout", ref=str(payout.pk)
        )
    except InsufficientBalance as short:
        raise _not_earned(account, short.available) from None
    payout.save(force_insert=True)
    payout.begin(by=by, now=now)
    tell_owners(payout)
    return payout


@retried
def cancel_payout(*, payout: Payout, by: User, now: datetime) -> Payout:
    """Take a payout back before it is sent. Raises NotAllowed for less than an owner, Conflict where it is too late."""
    require_owner(payout.account, by, "Taking a payout back")
    with transaction.atomic():
        payout = locked_payout(payout.pk)
        if payout.status not in PAYOUT_WAITING:
            raise Conflict(f"This payout is {payout.get_status_display().lower()}: it cannot be taken back.")
        payout.cancel(by=by, now=now)
        release(hold_id=payout.hold_id)
    return payout


@retried
def approve_payout(*, payout: Payout, by: User, now: datetime) -> Payout:
    """Agree to a payout, as somebody else than who asked for it and who has no part in the account.

    Raises NotAllowed, OwnPayout, Conflict where nothing waits or where what it rests on is no more.
    """
    _require_decider(by)
    with transaction.atomic():
        payout = locked_payout(payout.pk)
        _require_requested(payout)
        refuse_own(payout, by, "approve")
        check_destination(payout.destination, now=now)
        if stopped := why_stopped(payout):
            raise Conflict(f"{stopped.detail} Reject it, or have that put right first.")
        payout.approve(by=by, now=now)
        hint(payout)
    return payout


@retried
def reject_payout(*, payout: Payout, by: User, reason: str, now: datetime) -> Payout:
    """Say no to a payout with a reason; the earnings are free again. Raises NotAllowed, Conflict."""
    _require_decider(by)
    if not reason.strip():
        raise DomainError("Give a reason: the owner will read it.", code="required", attr="reason")
    with transaction.atomic():
        payout = locked_payout(payout.pk)
        _require_requested(payout)
        payout.reject(by=by, reason=reason.strip(), now=now)
        release(hold_id=payout.hold_id)
        tell_owners(payout)
    return payout


def check_payout(*, kind: str, amount: int, fee: int) -> None:
    """Raise for an amount that cannot be paid out in this way."""
    least = parse_micro(settings.PAYOUT_MIN_USD)
    if amount < least:
        raise AmountOutOfBounds(f"One payout is of at least {show_micro(least)} USD.", attr="amount_usd")
    if fee >= amount:
        raise FeeExceedsAmount(
            f"The fee of a payout is {show_micro(fee)} USD: nothing of this would arrive.", attr="amount_usd"
        )
    if kind != Provider.ONCHAIN and (amount % CENT or fee % CENT):
        raise NotWholeCents("A payout is of whole cents: give at most two decimals.", attr="amount_usd")


def check_destination(destination: PayoutDestination, *, now: datetime) -> None:
    """Raise unless money may be sent there now; a row read before may be out of use by now."""
    destination.refresh_from_db(fields=["retired_at"])
    if destination.retired_at is not None:
        raise Conflict("This destination is out of use. Choose another.", attr="destination")
    if destination.usable_at > now:
        begin = f"{destination.usable_at:%Y-%m-%d %H:%M} UTC"
        raise DestinationTooNew(
            f"This destination was added lately; payouts there can be asked for from {begin} on.", attr="destination"
        )


@dataclass(frozen=True)
class Stopped:
    """Say why an agreed payout is not sent."""

    code: str
    detail: str


def why_stopped(payout: Payout) -> Stopped | None:
    """Say why an agreed payout must not be sent any more; None where it may."""
    account, asker = payout.account, payout.requested_by
    earnings = Balance.objects.get(pk=payout.hold.balance_id)
    role = account.role_of(asker)
    if account.closed_at is not None:
        return Stopped(code="account_closed", detail="The account was closed meanwhile.")
    if earnings.frozen_out:
        return Stopped(code="earnings_frozen", detail="The account's earnings were frozen meanwhile.")
    if not asker.is_active:
        return Stopped(code="requester_inactive", detail="Who asked for it was switched off meanwhile.")
    if role is None or role < Role.OWNER:
        return Stopped(code="requester_no_owner", detail="Who asked for it is no owner of the account any more.")
    if payout.destination.retired_at is not None:
        sentence = "Its destination was changed or retired meanwhile: ask anew for another."
        return Stopped(code="destination_changed", detail=sentence)
    return None


def refuse_own(payout: Payout, by: User, what: str) -> None:
    """Raise OwnPayout for who asked for it and for whoever has a part in the account."""
    if payout.requested_by_id == by.pk:
        raise OwnPayout(f"A second person has to {what} the payout that you asked for.")
    if gains(payout.account, by):
        raise OwnPayout(f"Somebody who is not in this account has to {what} its payout.")


def locked_payout(payout_id: UUID) -> Payout:
    """Lock a payout's account, then the payout: whoever moves its money comes here first."""
    account_id = Payout.objects.values_list("account_id", flat=True).get(pk=payout_id)
    account = Account.objects.select_for_update(no_key=True, of=("self",)).get(pk=account_id)
    rows = Payout.objects.select_for_update(no_key=True, of=("self",))
    payout = rows.select_related("destination", "requested_by", "hold").get(pk=payout_id)
    payout.account = account
    return payout


def hint(payout: Payout) -> None:
    """Have it sent or looked at once this commits; the sweep finds it by its due_at should the message be lost."""
    transaction.on_commit(lambda: _send(payout.pk), robust=True)


def _send(payout_id: UUID) -> None:
    from payments.actors import send_payout  # it imports this package

    send_payout.send(payout_id=str(payout_id))


def tell_owners(payout: Payout) -> None:
    """Write to the owners about how it stands, once for a state."""
    write_to_owners(
        payout.account,
        subject=f"Payout of {show_micro(payout.amount)} USD: {payout.get_status_display().lower()}",
        template="mail/payout.txt",
        context={
            "payout": payout,
            "amount": show_micro(payout.amount),
            "fee": show_micro(payout.fee) if payout.fee else "",
            "sent": show_micro(payout.net),
            "returned": show_micro(payout.returned),
            "address": f"{settings.BASE_URL}/accounts/{payout.account_id}/earnings/",
        },
        key=f"payout:{payout.pk}:{payout.status}",
    )


def _not_earned(account: Account, available: int) -> NotEarned:
    pending = Balance.objects.filter(asset="USD", kind=PENDING, owner_key=account.owner_key).first()
    waiting = (pending.posted or 0) if pending is not None else 0
    more = f" {show_micro(waiting)} more are pending." if waiting else ""
    return NotEarned(f"Of the earnings {show_micro(max(0, available))} USD can be paid out.{more}", attr="amount_usd")


def _require_decider(by: Any) -> None:
    if not by.has_perm("payments.decide_payout"):
        raise NotAllowed("Deciding on payouts takes the permission for it.")


def _require_requested(payout: Payout) -> None:
    if payout.status != PayoutStatus.REQUESTED:
        raise Conflict(f"This payout is {payout.get_status_display().lower()} and waits for nobody's yes.")
