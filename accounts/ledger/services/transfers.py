"""Move an amount at once, and take a movement back."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from uuid import UUID

from accounts.ledger.choices import REVERSAL
from accounts.ledger.models import Balance, Transfer
from accounts.ledger.services import moves
from accounts.ledger.services.errors import AssetMismatch, InvalidAmount, KeyReused, NotReversible
from accounts.ledger.services.keys import keyed
from gaas.lib.errors import NotFound
from gaas.lib.retry import retried


@keyed(Transfer)
@retried
def transfer(
    *,
    key: str,
    kind: str,
    debit: Balance,
    credit: Balance,
    amount: int,
    actor: str = "",
    memo: str = "",
    ref: str = "",
    group: str = "",
    effective_at: datetime | None = None,
) -> Transfer:
    """Move `amount` from `debit` to `credit`, once for each `key`.

    The same key with the same kind, balances, amount, ref and group gives the stored transfer; with
    others it raises KeyReused. Who asked, the memo and the moment are words about the movement and may
    differ. Raises InvalidAmount, AssetMismatch, InsufficientBalance, BalanceFrozen.
    """
    moves.checked(amount)
    if debit.pk == credit.pk:
        raise InvalidAmount("A transfer needs two different balances.")
    if debit.asset_id != credit.asset_id:
        raise AssetMismatch(f"{debit.asset_id} cannot become {credit.asset_id}.")
    wanted = Transfer(
        key=key,
        kind=kind,
        asset_id=debit.asset_id,
        debit=debit,
        credit=credit,
        amount=amount,
        actor=actor,
        memo=memo,
        ref=ref,
        group=group,
    )
    if effective_at is not None:
        wanted.effective_at = effective_at
    stored = Transfer.objects.filter(key=key).first()
    if stored is not None:
        return same_or_refuse(stored, wanted)
    return _book(wanted)


@keyed(Transfer)
@retried
def reverse(*, transfer_id: UUID, key: str, actor: str = "", memo: str = "") -> Transfer:
    """Take a transfer back whole by its mirror image, once.

    What a hold captured comes back as available: the hold stays closed, and its caps stay used. Raises
    NotReversible for a reversal or a transfer reversed before, InsufficientBalance when the payee has
    spent it, BalanceFrozen, KeyReused.
    """
    original = Transfer.objects.select_related("debit", "credit").filter(pk=transfer_id).first()
    if original is None:
        raise NotFound("There is no such transfer.")
    wanted = Transfer(
        key=key,
        kind=REVERSAL,
        asset_id=original.asset_id,
        debit=original.credit,
        credit=original.debit,
        amount=original.amount,
        reverses=original,
        actor=actor,
        memo=memo,
        ref=original.ref,
        group=original.group,
    )
    stored = Transfer.objects.filter(key=key).first()
    if stored is not None:
        return same_or_refuse(stored, wanted)
    if original.reverses_id is not None:
        raise NotReversible("A reversal cannot be reversed. Make a new transfer instead.")
    if Transfer.objects.filter(reverses=original).exists():
        raise NotReversible("This transfer was reversed before.")
    return _book(wanted)


def same_or_refuse(stored: Transfer, wanted: Transfer) -> Transfer:
    """Give the stored transfer when it is the same movement, else raise KeyReused."""
    for name in ("kind", "debit_id", "credit_id", "amount", "hold_id", "reverses_id", "ref", "group"):
        if getattr(stored, name) != getattr(wanted, name):
            raise KeyReused(f"The key {stored.key!r} stands for another movement already (its {name} differs).")
    return stored


def _book(wanted: Transfer) -> Transfer:
    moves.by_id(
        {
            wanted.debit_id: partial(moves.take, wanted.debit, wanted.amount),
            wanted.credit_id: partial(moves.give, wanted.credit, wanted.amount),
        }
    )
    return Transfer.objects.bulk_create([wanted])[0]
