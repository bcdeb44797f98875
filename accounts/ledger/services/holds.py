"""Promise an amount, promise more, give it back; captures.py pays out of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models.functions import Now

from accounts.ledger import sql
from accounts.ledger.choices import LIMIT, HoldState
from accounts.ledger.models import Balance, Cap, Hold, HoldCap
from accounts.ledger.services import moves
from accounts.ledger.services.errors import AssetMismatch, HoldClosed, HoldExceeded, InvalidAmount, KeyReused
from accounts.ledger.services.keys import keyed
from gaas.lib.errors import NotFound
from gaas.lib.retry import retried


@keyed(Hold)
def hold(
    *,
    balance: Balance,
    amount: int,
    key: str,
    purpose: str,
    ref: str = "",
    expires_at: datetime | None = None,
    caps: Sequence[Cap] = (),
    spender: str = "",
) -> Hold:
    """Promise `amount` of a balance, once for each `key`, and count it in the caps.

    `spender` is the owner_key of the account that it is for. The same key with the same balance, amount,
    purpose and ref gives the stored hold as it is by now; with others it raises KeyReused. Raises
    InvalidAmount, InsufficientBalance, BalanceFrozen, CapExceeded, AssetMismatch.
    """
    moves.checked(amount)
    made = Hold(
        balance=balance,
        key=key,
        opened_with=amount,
        amount=amount,
        purpose=purpose,
        ref=ref,
        spender=spender,
        expires_at=expires_at,
    )
    if not caps and sql.hold_at_once(made):
        return made
    return _hold(made, caps)


@retried
def _hold(made: Hold, caps: Sequence[Cap]) -> Hold:
    """Do as `hold` statement by statement, and say why where it cannot be."""
    stored = Hold.objects.filter(key=made.key).first()
    if stored is not None:
        if any(
            getattr(stored, name) != getattr(made, name) for name in ("balance_id", "opened_with", "purpose", "ref")
        ):
            raise KeyReused(f"The key {made.key!r} stands for another hold already.")
        return stored
    if any(cap.asset_id != made.balance.asset_id for cap in caps):
        raise AssetMismatch(f"Only a cap on {made.balance.asset_id} can count this hold.")
    cap_ids = {cap.pk for cap in caps}
    moves.reserve(made.balance_id, made.amount)
    moves.count_in(cap_ids, made.amount)
    Hold.objects.bulk_create([made])
    if cap_ids:
        HoldCap.objects.bulk_create([HoldCap(hold=made, cap_id=cap_id) for cap_id in sorted(cap_ids)])
    return made


@retried
def extend(*, hold_id: UUID, amount: int) -> Hold:
    """Promise `amount` more under an open hold, counted in the caps of the period in which it was made.

    It has no key of its own: a caller that may come twice guards it by its own row in the same
    transaction. Raises HoldClosed and whatever `hold` raises.
    """
    moves.checked(amount)
    found = lock(hold_id)
    require_open(found)
    if found.amount + amount >= LIMIT:
        raise InvalidAmount("The hold would grow beyond what can be counted.")
    write(found, amount=found.amount + amount)
    moves.reserve(found.balance_id, amount)
    moves.count_in(cap_ids_of(found), amount)
    return found


@retried
def release(*, hold_id: UUID, amount: int | None = None) -> Hold:
    """Give back `amount` of an open hold; None gives back all that is open and closes it.

    To close a hold twice is the same as once. Raises HoldClosed where a capture or the hold's own time
    closed it, HoldExceeded.
    """
    if amount is not None:
        moves.checked(amount)
    found = lock(hold_id)
    if amount is None:
        if found.state != HoldState.RELEASED:
            require_open(found)
            _end(found, HoldState.RELEASED)
        return found
    require_open(found)
    if amount > found.open_amount:
        raise HoldExceeded("That is more than the hold has open.")
    write(found, released=found.released + amount)
    _give_back(found, amount)
    return found


@retried
def expire(*, hold_id: UUID, now: datetime) -> bool:
    """Close a hold whose time has run out and give back what is open; return whether this call did.

    False where it is closed already or has time left: the sweep may come late or twice.
    """
    found = lock(hold_id)
    if not found.is_open or found.expires_at is None or found.expires_at > now:
        return False
    _end(found, HoldState.EXPIRED)
    return True


def lock(hold_id: UUID) -> Hold:
    """Lock the hold's row: every verb on a standing hold begins here, so that two of them take turns.

    On SQLite the transaction has the only write lock from its first statement on.
    """
    found = (
        Hold.objects.select_for_update(no_key=True, of=("self",))
        .select_related("balance")
        .annotate(moment=Now())
        .filter(pk=hold_id)
        .first()
    )
    if found is None:
        raise NotFound("There is no such hold.")
    return found


def require_open(found: Hold) -> None:
    if not found.is_open:
        raise HoldClosed(f"This hold is closed: it was {found.get_state_display().lower()}.")


def write(found: Hold, **fields: Any) -> None:
    """Write fields of a locked, open hold; a state other than open also notes the moment."""
    if "state" in fields:
        # The database's, read together with the lock.
        fields["closed_at"] = vars(found)["moment"]
    Hold.objects.filter(pk=found.pk, state=HoldState.OPEN).update(updated_at=Now(), **fields)
    for name, value in fields.items():
        setattr(found, name, value)


def cap_ids_of(found: Hold) -> list[UUID]:
    return list(HoldCap.objects.filter(hold=found).values_list("cap_id", flat=True))


def _end(found: Hold, state: HoldState) -> None:
    rest = found.open_amount
    write(found, state=state, released=found.released + rest)
    _give_back(found, rest)


def _give_back(found: Hold, amount: int) -> None:
    if amount:
        moves.settle(found.balance_id, captured=0, released=amount)
        moves.give_back(cap_ids_of(found), amount)
