"""Money that came in: into the wallet once, or aside where it does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from accounts.ledger.models import Balance
from accounts.ledger.services import platform_balance, transfer
from accounts.models import Account
from accounts.services.hours import wallet_balance
from gaas.lib.amounts import show_micro
from gaas.lib.retry import retried
from gaas.outbox import services as outbox
from gaas.outbox.choices import EventType
from payments.choices import Provider
from payments.models import Payment, Review
from payments.services.debts import repay_debt


@dataclass(frozen=True)
class Arrived:
    """What came in by a provider's word: micro-dollars of a currency, and why it may not fit."""

    amount: int
    currency: str = "USD"
    doubt: str = ""  # a code such as metadata_mismatch, where something else than the amount differs
    detail: str = ""
    facts: dict[str, Any] | None = None


def clearing(provider: str) -> Balance:
    """Give the platform's balance for what a provider owes us or took from us."""
    return platform_balance(asset="USD", kind=f"clearing:{provider}")


def suspense() -> Balance:
    """Give the platform's balance for money of which nobody knows yet whose it is."""
    return platform_balance(asset="USD", kind="suspense")


def locked(payment_id: UUID) -> Payment:
    """Lock a payment's account, then the payment: whoever moves its money comes here first."""
    account_id = Payment.objects.values_list("account_id", flat=True).get(pk=payment_id)
    account = Account.objects.select_for_update(no_key=True, of=("self",)).get(pk=account_id)
    payment = Payment.objects.select_for_update(no_key=True, of=("self",)).get(pk=payment_id)
    payment.account = account
    return payment


@retried
def credit(*, payment_id: UUID, arrived: Arrived, by: Any, now: datetime, reason: str = "", **fields: Any) -> Payment:
    """Put what came in on the account's wallet, once, however often and late it is reported.

    1. Lock. 2. Paid already: nothing. 3. What differs from what was asked goes to `suspense` and before a person.
    4. The state, the transfer `payment:<id>:topup`, and the account's debt out of it.
    Locks: account → payment → balances.
    """
    payment = locked(payment_id)
    if payment.is_paid:
        return payment
    if payment.reviews.filter(in_suspense__gt=0).exists():
        # It came in before and was put aside: a person decides or has decided, whatever is said of it by now.
        Payment.objects.filter(pk=payment.pk).update(look_at=None, updated_at=now)
        return payment
    if doubt := _doubt(payment, arrived):
        set_aside(payment=payment, arrived=arrived, code=doubt[0], detail=doubt[1], now=now)
        return payment
    payment.succeed(received=arrived.amount, by=by, now=now, reason=reason, **fields)
    top_up(payment=payment, source=clearing(payment.provider), amount=arrived.amount, actor=by)
    tell_paid(payment, amount=arrived.amount, now=now)
    return payment


def tell_paid(payment: Payment, *, amount: int, now: datetime) -> None:
    """Tell the webhooks of its account that money is in the wallet."""
    outbox.tell(
        event=EventType.PAYMENT_SUCCEEDED,
        account=payment.account,
        data={
            "id": payment.pk,
            "provider": payment.provider,
            "amount_microusd": payment.amount,
            "received_microusd": amount,
        },
        key=f"payment:{payment.pk}:succeeded",
        now=now,
    )


def top_up(*, payment: Payment, source: Balance, amount: int, actor: Any) -> None:
    """Move the amount into the wallet, and out of it what the account owes; the caller holds the locks."""
    transfer(
        key=f"payment:{payment.pk}:topup",
        kind="topup",
        debit=source,
        credit=wallet_balance(payment.account),
        amount=amount,
        actor=_name(actor),
        ref=str(payment.pk),
    )
    repay_debt(account=payment.account, most=amount, key=f"payment:{payment.pk}:debt", ref=str(payment.pk))


def set_aside(*, payment: Payment, arrived: Arrived, code: str, detail: str, now: datetime) -> Review:
    """Keep money that does not fit on `suspense` until a person says where it belongs; once for a payment."""
    kept = arrived.amount if arrived.currency == "USD" else 0
    review, is_new = Review.objects.get_or_create(
        key=f"payment:{payment.pk}:{code}",
        defaults={
            "payment": payment,
            "provider": payment.provider,
            "code": code,
            "detail": detail,
            "facts": arrived.facts or {},
            "in_suspense": kept,
        },
    )
    if is_new and kept:
        transfer(
            key=f"payment:{payment.pk}:suspense",
            kind="suspense",
            debit=clearing(payment.provider),
            credit=suspense(),
            amount=kept,
            ref=str(payment.pk),
        )
    # Nobody has to be asked again: a person decides.
    Payment.objects.filter(pk=payment.pk).update(look_at=None, updated_at=now)
    return review


def _doubt(payment: Payment, arrived: Arrived) -> tuple[str, str] | None:
    """Say why what came in is not simply credited; None where it is what was asked for."""
    if arrived.doubt:
        return arrived.doubt, arrived.detail
    if arrived.currency != "USD":
        return "currency_mismatch", f"Asked for USD, and {arrived.currency} came in."
    if arrived.amount != payment.amount:
        return (
            "amount_mismatch",
            f"Asked for {show_micro(payment.amount)} USD, and {show_micro(arrived.amount)} came in.",
        )
    wallet = wallet_balance(payment.account)
    # By hand a person is there to be told; a provider would only say the same again and again.
    if payment.provider != Provider.MANUAL and (wallet.frozen_in or wallet.closed_at):
        return "wallet_frozen", "The account's wallet is frozen or closed: nothing can be put into it."
    return None


def _name(actor: Any) -> str:
    return "" if actor is None else str(actor.pk)
