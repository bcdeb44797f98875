"""The conditional UPDATEs through which every amount moves, and the sentence when one finds no row.

Each is one statement that both decides and writes, so there is no moment between looking and taking.
The verbs call them by ascending balance id, then the caps; see docs/ledger.md for the order of locks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NoReturn
from uuid import UUID

from django.db.models import F
from django.db.models.functions import Greatest, Now

from accounts.ledger.choices import LIMIT
from accounts.ledger.models import Balance, Cap
from accounts.ledger.services.errors import BalanceFrozen, CapExceeded, InsufficientBalance, InvalidAmount
from gaas.lib.errors import NotFound


def checked(amount: int) -> int:
    """Give the amount back, or raise InvalidAmount."""
    if isinstance(amount, bool) or not isinstance(amount, int) or not 0 < amount < LIMIT:
        raise InvalidAmount(f"An amount is a whole number from 1 to {LIMIT - 1}.")
    return amount


def by_id(moves: dict[UUID, Callable[[], None]]) -> None:
    """Make the moves, one a balance, in the lock order."""
    for balance_id in sorted(moves):
        moves[balance_id]()


def reserve(balance_id: UUID, amount: int) -> None:
    """Add to what is held, if that much is available."""
    rows = Balance.objects.filter(pk=balance_id)
    while not rows.able_to_spend(amount).update(held=F("held") + amount, updated_at=Now()):
        _explain_no_debit(balance_id, amount)


def settle(balance_id: UUID, *, captured: int, released: int) -> None:
    """Take what a hold captured out of the balance, and stop holding that and what it released.

    No look at the freeze: what was held was promised before.
    """
    Balance.objects.filter(pk=balance_id).update(
        posted=F("posted") - captured, held=F("held") - (captured + released), updated_at=Now()
    )


def take(balance: Balance, amount: int) -> None:
    """Debit a balance, if that much is available; of a platform balance only the freeze is asked."""
    rows = Balance.objects.filter(pk=balance.pk)
    if balance.is_lazy:
        if rows.filter(frozen_out=True).exists():
            _frozen(balance)
        return
    while not rows.able_to_spend(amount).update(posted=F("posted") - amount, updated_at=Now()):
        _explain_no_debit(balance.pk, amount)


def give(balance: Balance, amount: int) -> None:
    """Credit a balance, unless it is frozen, closed or full; of a platform balance only the freeze is asked."""
    rows = Balance.objects.filter(pk=balance.pk)
    if balance.is_lazy:
        if rows.filter(frozen_in=True).exists():
            _frozen(balance)
        return
    while not rows.able_to_receive(amount).update(posted=F("posted") + amount, updated_at=Now()):
        stored = _stored(balance.pk)
        if stored.frozen_in or stored.closed_at:
            _frozen(stored)
        if (stored.posted or 0) > LIMIT - amount:
            raise InvalidAmount("The balance would grow beyond what can be counted.")


def count_in(cap_ids: Iterable[UUID], amount: int) -> None:
    """Count an amount in each cap, lowest id first; raise CapExceeded where too little is left."""
    for cap_id in sorted(cap_ids):
        rows = Cap.objects.filter(pk=cap_id)
        while not rows.filter(used__lte=F("limit") - amount).update(used=F("used") + amount, updated_at=Now()):
            cap = rows.select_related("asset").get()
            if cap.left < amount:
                raise CapExceeded(cap=cap, needed=amount)


def give_back(cap_ids: Iterable[UUID], amount: int) -> None:
    """Uncount an amount in each cap, lowest id first; a limit that had to stay above the wanted one comes down."""
    for cap_id in sorted(cap_ids):
        Cap.objects.filter(pk=cap_id).update(
            used=F("used") - amount, limit=Greatest(F("wanted"), F("used") - amount), updated_at=Now()
        )


def _explain_no_debit(balance_id: UUID, amount: int) -> None:
    """Raise why `amount` cannot leave; return when it could by now, since another one gave way meanwhile."""
    stored = _stored(balance_id)
    if stored.frozen_out or stored.closed_at:
        _frozen(stored)
    if stored.available < amount:
        raise InsufficientBalance(asset=stored.asset, needed=amount, available=stored.available)
    if (stored.posted or 0) < amount - LIMIT or stored.held > LIMIT - amount:
        raise InvalidAmount("The balance would shrink beyond what can be counted.")


def _stored(balance_id: UUID) -> Balance:
    balance = Balance.objects.select_related("asset").filter(pk=balance_id).first()
    if balance is None:
        raise NotFound("There is no such balance.")
    if balance.is_lazy:
        # Nothing of it is stored, so there is nothing to hold: a caller's mistake, not a user's.
        raise ValueError(f"{balance} is a platform balance and cannot be held.")
    return balance


def _frozen(balance: Balance) -> NoReturn:
    if balance.closed_at:
        raise BalanceFrozen("This balance is closed. Use another one.")
    raise BalanceFrozen("This balance is frozen. Ask staff why, and what would free it.")
