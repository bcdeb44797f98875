"""What a payment on a chain asks for, and what its payer says about it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from accounts.choices import Role
from accounts.models import User
from gaas.lib.errors import Conflict, NotAllowed
from payments.choices import PAYMENT_PAID, Provider
from payments.models import ChainIntent, Payment
from payments.providers import Begun, Seen
from payments.services.references import hash_of

TRIES = 20


def ask_for_units(payment: Payment, provider: Any) -> None:
    """Choose units that no other open payment waits for, in the caller's transaction; the amount follows them."""
    for _ in range(TRIES):
        units, micro = provider.ask_for(payment.amount)
        chain = provider.chain
        try:
            with transaction.atomic():
                ChainIntent.objects.create(
                    payment=payment,
                    chain_id=chain.chain_id,
                    token=chain.token,
                    symbol=chain.symbol,
                    receiver=chain.receiver,
                    units=str(units),
                )
        except IntegrityError:
            continue
        Payment.objects.filter(pk=payment.pk).update(amount=micro)
        payment.amount = micro
        return
    raise Conflict("Too many payments of this amount are under way; ask for another amount, or try again later.")


def claim_transaction(*, payment: Payment, tx_hash: str, by: User, now: datetime) -> Payment:
    """Take the payer's word for which transaction it was; the chain is asked next, and decides.

    A hash says nothing about who sent it, so a wrong one costs nothing and may be followed by the right one. Raises
    NotAllowed for less than an owner, DomainError for what is no hash, Conflict where it is paid already.
    """
    role = payment.account.role_of(by)
    if role is None or role < Role.OWNER:
        raise NotAllowed("Naming a payment's transaction takes the role of an owner of its account.")
    lower = hash_of(tx_hash, attr="tx_hash")
    if payment.provider != Provider.ONCHAIN:
        raise Conflict("Only a payment on a chain has a transaction to name.")
    with transaction.atomic():
        payment = Payment.objects.select_for_update(no_key=True, of=("self",)).get(pk=payment.pk)
        if payment.status in PAYMENT_PAID:
            raise Conflict("This payment has come in already.")
        ChainIntent.objects.filter(payment=payment).update(tx_hash=lower, problem="", confirmations=0, updated_at=now)
        Payment.objects.filter(pk=payment.pk).update(look_at=now, updated_at=now)
    payment.refresh_from_db()
    return payment


def note_begin(payment: Payment, begun: Begun, now: datetime) -> None:
    """Remember from which block on to look."""
    if payment.provider == Provider.ONCHAIN:
        ChainIntent.objects.filter(payment=payment, from_block=None).update(from_block=begun.height, updated_at=now)


def note_look(payment: Payment, seen: Seen, now: datetime) -> None:
    """Show the payer how far it is."""
    if payment.provider != Provider.ONCHAIN:
        return
    changes: dict[str, Any] = {
        "confirmations": seen.facts.get("confirmations", 0),
        "problem": seen.detail[:300],
        "updated_at": now,
    }
    if seen.facts.get("searched_to") is not None:
        changes["searched_to"] = seen.facts["searched_to"]
    if seen.state == "succeeded":
        changes |= {"tx_hash": seen.facts["tx_hash"], "is_open": False}
    elif seen.state == "cancelled" and not payment.is_open:
        # Nobody looks any more, so another payment may ask for as many.
        changes["is_open"] = False
    ChainIntent.objects.filter(payment=payment).update(**changes)
