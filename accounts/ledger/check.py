"""Ask whether the books are right, one invariant at a time.

Other apps register their own under the numbers of docs/ledger.md. `manage.py ledger_check` prints them all.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection
from django.db.models import Sum

from accounts.ledger import sql, triggers
from accounts.ledger.choices import BalanceKind
from accounts.ledger.models import Asset, Balance, BalanceSnapshot, Transfer, TransferSeal
from accounts.ledger.services.snapshots import sealed

# A broken rule seldom breaks once; the first few rows tell as much as all of them.
SHOWN = 20

Check = Callable[[], Iterable[str]]


@dataclass(frozen=True)
class Result:
    """Tell what one invariant found; no problems means that it holds."""

    number: int
    title: str
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


_registered: dict[int, tuple[str, Check]] = {}


def register(number: int, title: str) -> Callable[[Check], Check]:
    """Make a function that yields one sentence a problem part of every check."""

    def keep(check: Check) -> Check:
        if number in _registered:
            raise ValueError(f"Invariant {number} is registered twice.")
        _registered[number] = (title, check)
        return check

    return keep


def titles() -> list[str]:
    """Name every invariant, in the order in which they are checked."""
    return [f"{number}: {title}" for number, (title, _) in sorted(_registered.items())]


def run(*, only: Container[int] | None = None, on_step: Callable[[int, str], None] | None = None) -> list[Result]:
    """Check all invariants, or those of some numbers, in their order and as of one moment.

    `on_step(done, title)` is called before each; it may not use the connection that reads.
    """
    results: list[Result] = []
    with sql.consistent_read():
        for number, (title, check) in sorted(_registered.items()):
            if only is not None and number not in only:
                continue
            if on_step is not None:
                on_step(len(results), title)
            began = time.perf_counter()
            problems = list(check())
            results.append(Result(number, title, problems, round(time.perf_counter() - began, 3)))
    return results


def _rows(statement: str) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(f"{statement} LIMIT {SHOWN}")
        return cursor.fetchall()


@register(1, "posted = credits − debits for every stored balance, and for every snapshot")
def posted_is_the_sum() -> Iterable[str]:
    for key, kind, posted, summed in _rows(
        """
        SELECT b.owner_key, b.kind, b.posted, COALESCE(t.summed, 0)
        FROM ledger_balance b LEFT JOIN (
            SELECT balance_id, SUM(amount) AS summed FROM (
                SELECT credit_id AS balance_id, amount FROM ledger_transfer
                UNION ALL SELECT debit_id, -amount FROM ledger_transfer
            ) AS sides GROUP BY balance_id
        ) AS t ON t.balance_id = b.id
        WHERE b.posted IS NOT NULL AND b.posted <> COALESCE(t.summed, 0)
        """
    ):
        yield f"{key} {kind} has {posted} posted, but its transfers come to {summed}."
    yield from _snapshots_are_sums()


def _snapshots_are_sums() -> Iterable[str]:
    """Follow the platform's balances from one snapshot to the next: all of them by two sums a window."""
    lazy = {balance.pk: balance for balance in Balance.objects.lazy()}
    stored: dict[datetime, list[BalanceSnapshot]] = defaultdict(list)
    for snapshot in BalanceSnapshot.objects.filter(balance__in=lazy).order_by("before"):
        stored[snapshot.before].append(snapshot)
    sums = dict.fromkeys(lazy, 0)
    last: datetime | None = None
    for before, snapshots in stored.items():
        window = Transfer.objects.filter(created_at__lt=before)
        if last is not None:
            window = window.filter(created_at__gte=last)
        for side, sign in (("credit_id", 1), ("debit_id", -1)):
            moved = window.filter(**{f"{side}__in": lazy}).order_by().values_list(side).annotate(sum=Sum("amount"))
            for balance_id, summed in moved:
                sums[balance_id] += sign * int(summed)
        for snapshot in snapshots:
            if snapshot.posted != sums[snapshot.balance_id]:
                yield (
                    f"{lazy[snapshot.balance_id]} has {snapshot.posted} in its snapshot of {before}, "
                    f"not {sums[snapshot.balance_id]}."
                )
                sums[snapshot.balance_id] = snapshot.posted
        last = before


@register(2, "held = open parts of open holds")
def held_is_the_sum() -> Iterable[str]:
    for key, kind, held, summed in _rows(
        """
        SELECT b.owner_key, b.kind, b.held, COALESCE(h.summed, 0)
        FROM ledger_balance b LEFT JOIN (
            SELECT balance_id, SUM(amount - captured - released) AS summed FROM ledger_hold
            WHERE state = 'open' GROUP BY balance_id
        ) AS h ON h.balance_id = b.id
        WHERE b.held <> COALESCE(h.summed, 0)
        """
    ):
        yield f"{key} {kind} has {held} held, but its open holds come to {summed}."


@register(3, "posted − held ≥ floor")
def nothing_is_overdrawn() -> Iterable[str]:
    for key, kind, posted, held, floor in _rows(
        "SELECT owner_key, kind, posted, held, floor FROM ledger_balance WHERE posted - held < floor"
    ):
        yield f"{key} {kind} has {posted} posted and {held} held, below its floor of {floor}."


@register(4, "captured of a hold = its transfers, and a closed hold adds up")
def captured_is_the_sum() -> Iterable[str]:
    for key, captured, summed in _rows(
        """
        SELECT h.key, h.captured, COALESCE(t.summed, 0)
        FROM ledger_hold h LEFT JOIN (
            SELECT hold_id, SUM(amount) AS summed FROM ledger_transfer WHERE hold_id IS NOT NULL GROUP BY hold_id
        ) AS t ON t.hold_id = h.id
        WHERE h.captured <> COALESCE(t.summed, 0)
        """
    ):
        yield f"Hold {key} has {captured} captured, but its transfers come to {summed}."
    for (key,) in _rows(
        "SELECT key FROM ledger_hold WHERE captured + released > amount "
        "OR (state <> 'open' AND captured + released <> amount)"
    ):
        yield f"Hold {key} does not add up."
    for key, hold_key in _rows(
        "SELECT t.key, h.key FROM ledger_transfer t JOIN ledger_hold h ON h.id = t.hold_id "
        "WHERE t.debit_id <> h.balance_id"
    ):
        yield f"Transfer {key} does not debit the balance of its hold {hold_key}."


@register(5, "each asset sums to zero over all balances")
def assets_sum_to_zero() -> Iterable[str]:
    sums = dict.fromkeys(Asset.objects.values_list("code", flat=True), 0)
    for code, summed in _rows(
        "SELECT asset_id, SUM(posted) FROM ledger_balance WHERE posted IS NOT NULL GROUP BY asset_id"
    ):
        sums[code] += int(summed)
    for balance in Balance.objects.lazy():
        sums[balance.asset_id] += balance.total()
    for code, summed in sums.items():
        if summed:
            yield f"{code} sums to {summed} over all balances."


@register(6, "both sides of a transfer have its asset")
def transfers_keep_to_one_asset() -> Iterable[str]:
    for (key,) in _rows(
        """
        SELECT t.key FROM ledger_transfer t
        JOIN ledger_balance d ON d.id = t.debit_id JOIN ledger_balance c ON c.id = t.credit_id
        WHERE d.asset_id <> t.asset_id OR c.asset_id <> t.asset_id
        """
    ):
        yield f"Transfer {key} crosses assets."


@register(7, "transfers are never changed or removed")
def transfers_stand() -> Iterable[str]:
    for name in triggers.missing(connection):
        yield f"The trigger {name} does not stand."
    last: TransferSeal | None = None
    for seal in TransferSeal.objects.order_by("before"):
        now = sealed(last, seal.before)
        if now.count != seal.count:
            yield f"Under the seal of {seal.before} there were {seal.count} transfers, now {now.count}."
        elif now.digest != seal.digest:
            yield f"Under the seal of {seal.before} a transfer was changed."
        elif seal.kinds is not None and now.kinds != seal.kinds:
            yield f"The seal of {seal.before} counts other kinds of transfers than there are under it."
        last = seal


@register(10, "hours granted = used + expired + held by accounts")
def hours_add_up() -> Iterable[str]:
    lazy = {balance.kind: balance.total() for balance in Balance.objects.lazy().filter(asset="GPU")}
    granted = -lazy.pop(BalanceKind.GRANT, 0)
    gone = lazy.pop(BalanceKind.USED, 0) + lazy.pop(BalanceKind.EXPIRED, 0)
    kept = sum(
        int(summed)
        for (summed,) in _rows(
            "SELECT SUM(posted) FROM ledger_balance WHERE posted IS NOT NULL AND asset_id = 'GPU' HAVING COUNT(*) > 0"
        )
    )
    if granted != gone + kept:
        yield f"{granted} GPU-ms were granted, but {gone} were used or expired and accounts have {kept}."


@register(14, "cap.used = live holds + captures")
def caps_add_up() -> Iterable[str]:
    for key, used, summed in _rows(
        """
        SELECT c.owner_key, c.used, COALESCE(h.summed, 0)
        FROM ledger_cap c LEFT JOIN (
            SELECT x.cap_id, SUM(h.amount - h.released) AS summed
            FROM ledger_holdcap x JOIN ledger_hold h ON h.id = x.hold_id GROUP BY x.cap_id
        ) AS h ON h.cap_id = c.id
        WHERE c.used <> COALESCE(h.summed, 0) OR c.used > c."limit"
        """
    ):
        yield f"The cap of {key} has {used} used, but its holds come to {summed}."
