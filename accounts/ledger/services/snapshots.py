"""Cut the endless list of transfers: remember sums up to a moment, and seal what lies before it."""

from __future__ import annotations

import hashlib
from collections import Counter
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
    return TransferSeal.objects.bulk_create([sealed(last, before)])[0]


def snapshot_of(balance: Balance, last: BalanceSnapshot | None, before: datetime) -> int:
    """Give what the transfers created before a moment come to, built on an earlier snapshot."""
    window = Transfer.objects.filter(created_at__lt=before)
    if last is not None:
        window = window.filter(created_at__gte=last.before)
    return (last.posted if last else 0) + window.net_of(balance.pk)


def sealed(last: TransferSeal | None, before: datetime) -> TransferSeal:
    """Give what a seal says of the transfers from the one before it up to a moment; stores nothing."""
    window = Transfer.objects.filter(created_at__lt=before)
    if last is not None:
        window = window.filter(created_at__gte=last.before)
    running, kinds = hashlib.sha256((last.digest if last else "").encode()), Counter[str]()
    for row in window.order_by("created_at", "id").values_list(*_SEALED).iterator():
        # repr() quotes texts, so no two different rows can read the same.
        running.update(repr(tuple(value if isinstance(value, int) else str(value) for value in row)).encode())
        kinds[_kind_of(key=row[1], kind=row[2])] += 1
    return TransferSeal(before=before, count=kinds.total(), digest=running.hexdigest(), kinds=dict(kinds))


def booked(*, kind: str, word: str) -> int:
    """Count the transfers of a kind whose keys begin with a word and a colon: by the seals, and what came since.

    What is under a seal is counted once, when it is sealed; invariant 7 sees that it stays so.
    """
    new = Transfer.objects.filter(kind=kind, key__startswith=f"{word}:")
    count, last = 0, None
    for seal in TransferSeal.objects.order_by("before"):
        if seal.kinds is not None:
            count += seal.kinds.get(_kind_of(key=f"{word}:", kind=kind), 0)
        else:
            window = new.filter(created_at__lt=seal.before)
            count += (window if last is None else window.filter(created_at__gte=last)).count()
        last = seal.before
    return count + (new if last is None else new.filter(created_at__gte=last)).count()


def _kind_of(*, key: str, kind: str) -> str:
    # A key without a colon is a word of its own, and there may be as many as transfers.
    word, colon, _ = key.partition(":")
    return f"{kind} {word}" if colon else kind
