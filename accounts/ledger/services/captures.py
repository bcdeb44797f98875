"""Pay out of a hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from accounts.ledger import sql
from accounts.ledger.choices import HoldState
from accounts.ledger.models import Balance, Hold, Transfer
from accounts.ledger.services import moves
from accounts.ledger.services.errors import AssetMismatch, HoldExceeded, InvalidAmount, KeyReused
from accounts.ledger.services.holds import cap_ids_of, lock, release, require_open, write
from accounts.ledger.services.transfers import same_or_refuse
from gaas.lib.retry import retried


@dataclass(frozen=True, kw_only=True)
class Leg:
    """State one part of a capture: who gets how much, under which natural key."""

    credit: Balance
    amount: int
    kind: str
    key: str
    ref: str = ""
    memo: str = ""


def capture(*, hold_id: UUID, legs: Sequence[Leg], final: bool, actor: str = "") -> list[Transfer]:
    """Pay the legs out of a hold; `final` gives back the rest and closes it.

    1. Lock the hold. All legs stored before under their keys: give those. Only some, or with other
       content: KeyReused.
    2. Closed: HoldClosed. More than is open: HoldExceeded.
    3. Write the hold, then payer and payees by ascending id, then the caps, then the transfers.

    No legs and `final` is a release. A frozen payer still pays, since it was promised before; a frozen
    payee raises BalanceFrozen. Raises AssetMismatch, InvalidAmount.
    """
    if len({leg.key for leg in legs}) != len(legs):
        raise KeyReused("Two legs of one capture have the same key.")
    total = sum(moves.checked(leg.amount) for leg in legs)
    if not legs:
        if final:
            release(hold_id=hold_id)
        return []
    paid = [
        Transfer(key=leg.key, kind=leg.kind, credit=leg.credit, amount=leg.amount, ref=leg.ref, memo=leg.memo)
        for leg in legs
    ]
    if sql.capture_at_once(hold_id=hold_id, legs=paid, final=final, actor=actor):
        return paid
    return _capture(hold_id, legs, total=total, final=final, actor=actor)


@retried
def _capture(hold_id: UUID, legs: Sequence[Leg], *, total: int, final: bool, actor: str) -> list[Transfer]:
    """Do as `capture` statement by statement, and say why where it cannot be."""
    found = lock(hold_id)
    wanted = [_transfer(leg, found, actor) for leg in legs]
    stored = {row.key: row for row in Transfer.objects.filter(key__in=[leg.key for leg in legs])}
    if stored:
        return _replayed(found, wanted, stored, final=final)
    require_open(found)
    if total > found.open_amount:
        raise HoldExceeded("That is more than the hold has open.")
    if final:
        rest = found.open_amount - total
        write(found, captured=found.captured + total, released=found.released + rest, state=HoldState.CAPTURED)
    else:
        rest = 0
        write(found, captured=found.captured + total)
    _pay(found.balance, legs, total=total, rest=rest)
    if rest:
        moves.give_back(cap_ids_of(found), rest)
    return Transfer.objects.bulk_create(wanted)


def _transfer(leg: Leg, found: Hold, actor: str) -> Transfer:
    if leg.credit.pk == found.balance_id:
        raise InvalidAmount("A transfer needs two different balances.")
    if leg.credit.asset_id != found.balance.asset_id:
        raise AssetMismatch(f"{found.balance.asset_id} cannot become {leg.credit.asset_id}.")
    return Transfer(
        key=leg.key,
        kind=leg.kind,
        asset_id=found.balance.asset_id,
        debit=found.balance,
        credit=leg.credit,
        amount=leg.amount,
        hold=found,
        group=found.key,
        ref=leg.ref,
        actor=actor,
        memo=leg.memo,
    )


def _replayed(found: Hold, wanted: list[Transfer], stored: dict[str, Transfer], *, final: bool) -> list[Transfer]:
    if len(stored) != len(wanted) or (final and found.is_open):
        raise KeyReused("A key of these legs stands for another capture already.")
    return [same_or_refuse(stored[row.key], row) for row in wanted]


def _pay(payer: Balance, legs: Sequence[Leg], *, total: int, rest: int) -> None:
    """Settle the payer and credit each payee once, however many legs name it."""
    payees = {leg.credit.pk: leg.credit for leg in legs}
    sums: Counter[UUID] = Counter()
    for leg in legs:
        sums[leg.credit.pk] += leg.amount
    steps: dict[UUID, Callable[[], None]] = {
        payee_id: partial(moves.give, payee, sums[payee_id]) for payee_id, payee in payees.items()
    }
    steps[payer.pk] = partial(moves.settle, payer.pk, captured=total, released=rest)
    moves.by_id(steps)
