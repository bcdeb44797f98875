"""Open, freeze and close balances."""

from __future__ import annotations

from django.db.models.functions import Now

from accounts.ledger.choices import PLATFORM_PREFIX
from accounts.ledger.models import Balance
from accounts.ledger.services.errors import BalanceFrozen
from gaas.lib.retry import retried


def open_balance(*, asset: str, kind: str, owner_key: str, floor: int | None = 0) -> Balance:
    """Give the owner's balance of this kind, made now if there is none; `floor` counts only then.

    `floor` is how low `posted - held` may get; None sets no bound.
    """
    if owner_key.startswith(PLATFORM_PREFIX):
        raise ValueError("A platform balance is opened by platform_balance().")
    return _get_or_open(Balance(asset_id=asset, kind=kind, owner_key=owner_key, floor=floor))


def platform_balance(*, asset: str, kind: str) -> Balance:
    """Give the platform's balance of this kind: lazy, so its sum is `total()` and it has no floor."""
    return _get_or_open(
        Balance(asset_id=asset, kind=kind, owner_key=f"{PLATFORM_PREFIX}{kind}", posted=None, floor=None)
    )


def _get_or_open(wanted: Balance) -> Balance:
    same = Balance.objects.filter(asset_id=wanted.asset_id, kind=wanted.kind, owner_key=wanted.owner_key)
    found = same.first()
    if found is None:
        # The one who loses this race inserts nothing and reads the winner's row.
        Balance.objects.bulk_create([wanted], ignore_conflicts=True)
        found = same.get()
    return found


def freeze(*, balance: Balance, incoming: bool, outgoing: bool) -> None:
    """Set what is frozen: `incoming` refuses credits, `outgoing` refuses debits and new or longer holds.

    Holds that stand keep their promise: they may still be captured and released.
    """
    Balance.objects.filter(pk=balance.pk).update(frozen_in=incoming, frozen_out=outgoing, updated_at=Now())


@retried
def close(*, balance: Balance) -> None:
    """Close an empty balance for good; nothing enters or leaves it again.

    Raises BalanceFrozen while anything is posted or held.
    """
    rows = Balance.objects.filter(pk=balance.pk)
    if rows.filter(closed_at=None, posted=0, held=0).update(closed_at=Now(), updated_at=Now()):
        return
    if rows.filter(closed_at=None).exists():
        raise BalanceFrozen("Only an empty balance can be closed: move out what is in it and end its holds first.")
