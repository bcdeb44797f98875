"""Cut the endless list of transfers: remember sums up to a moment, and seal what lies before it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

from accounts.ledger import sql
from accounts.ledger.models import Balance, BalanceSnapshot, Transfer, TransferSeal
from gaas.lib.errors import Conflict
from gaas.lib.retry import retried

_SEALED = (
    "id",
    "key",
    "kind",
    "asset_id",
    "debit_id",
    "credit_id",
    "amount",
    "hold_id",
    "reverses_id",
    "group",
    "ref",
    "actor",
    "memo",
    "effective_at",
    "created_at",
)


class NotSettled(Conflict):
    """Refuse a moment before which a transaction that runs now may still create transfers."""

    code = "not_settled"


@retried
def take_snapshot(*, before: datetime | None = None) -> TransferSeal | None:
    """Snapshot every platform balance and seal all transfers created before a moment.

    1. Ask which moment is settled; None takes that one, a later one raises NotSettled. A snapshot that
       a late commit could undercut would lose that transfer for ever.
    2. Add up, in a statement of its own: on READ COMMITTED it sees all that had committed by step 1.
    3. Store the sums and the seal. A moment not after the last seal's has been taken care of: None.
    """
    settled = sql.settled_before()
    if before is None:
        before = settled
    if before > settled:
        raise NotSettled(f"Transfers before {before:%H:%M:%S} may still be under way; {settled:%H:%M:%S} is settled.")
    last = TransferSeal.objects.order_by("-before").first()
    if last is not None and before <= last.before:
        return None
    sums = []
    for balance in Balance.objects.lazy():
        posted = snapshot_of(balance, balance.snapshots.order_by("-before").first(), before)
        sums.append(BalanceSnapshot(balance=balance, before=before, posted=posted))
    BalanceSnapshot.objects.bulk_create(sums)
    count, digest = sealed(last, before)
    return TransferSeal.objects.bulk_create([TransferSeal(before=before, count=count, digest=digest)])[0]


def snapshot_of(balance: Balance, last: BalanceSnapshot | None, before: datetime) -> int:
    """Give what the transfers created before a moment come to, built on an earlier snapshot."""
    window = Transfer.objects.filter(created_at__lt=before)
    if last is not None:
        window = window.filter(created_at__gte=last.before)
    return (last.posted if last else 0) + window.net_of(balance.pk)


def sealed(last: TransferSeal | None, before: datetime) -> tuple[int, str]:
    """Give the count and the running digest of the transfers from the last seal up to a moment."""
    window = Transfer.objects.filter(created_at__lt=before)
    if last is not None:
        window = window.filter(created_at__gte=last.before)
    return _digest(last.digest if last else "", window.order_by("created_at", "id").values_list(*_SEALED).iterator())


def _digest(seed: str, rows: Iterable[tuple]) -> tuple[int, str]:
    running = hashlib.sha256(seed.encode())
    count = 0
    for row in rows:
        # repr() quotes texts, so no two different rows can read the same.
        running.update(repr(tuple(value if isinstance(value, int) else str(value) for value in row)).encode())
        count += 1
    return count, running.hexdigest()
