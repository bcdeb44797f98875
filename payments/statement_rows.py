"""A statement as rows of text, for CSV and PDF alike: integers beside what people read. No database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from gaas.lib.amounts import show_hours, show_micro

CSV_HEAD = (
    "type",
    "at",
    "balance",
    "asset",
    "kind",
    "amount",
    "amount_exact",
    "after",
    "after_exact",
    "ref",
    "memo",
    "id",
)
# What a statement of an owner says of charges, and in which unit.
OWNER_FACTS = {
    "sold_ms": ("GPU-hours sold", "hours"),
    "lent_ms": ("GPU-hours lent to the quota", "hours"),
    "charged": ("Charged to payers", "usd"),
    "fee": ("Fee of the platform", "usd"),
    "owner_part": ("Earned of charges", "usd"),
    "from_loss": ("Paid by the platform for its own faults", "usd"),
}


# What a transfer of a kind is to whom it comes, and to whom it leaves; others are called by their kind.
KINDS: dict[str, tuple[str, str]] = {
    "earning": ("Earned with tasks", "Tasks: the owner's part"),
    "fee": ("Fees of tasks", "Tasks: the platform's fee"),
    "usage": ("Used", "Tasks: hours used"),
    "loss": ("Paid by the platform for its faults", "Paid for the platform's faults"),
    "matured": ("Matured", "Matured"),
    "topup": ("Paid in", "Paid in"),
    "welcome": ("Welcome hours", "Welcome hours"),
    "grant": ("Granted", "Granted"),
    "fund": ("Given by an account above", "Given to an account below"),
    "reclaim": ("Taken back from below", "Taken back from above"),
    "expired": ("Expired", "Expired"),
    "returned": ("Came back", "Went back to an account above"),
    "debt_repaid": ("Repaid", "Repaid what was owed"),
    "refund": ("Sent back", "Sent back to the payer"),
    "refund_failed": ("A refund came back", "A refund came back"),
    "dispute": ("Taken back by a bank", "Taken back by the payer's bank"),
    "dispute_won": ("A dispute was won", "A dispute was won"),
    "payout": ("Paid out", "Paid out"),
    "payout_fee": ("Fees of payouts", "Fee of a payout"),
    "payout_returned": ("A payout came back", "A payout came back"),
    "reservation": ("Earned with reservations", "Reservation: the owner's part"),
    "reservation_fee": ("Fees of reservations", "Reservation: the platform's fee"),
    "reversal": ("Correction", "Correction"),
}


class Fact(NamedTuple):
    name: str
    value: str
    unit: str


def shown(amount: int, asset: str) -> str:
    """Write an amount of an asset with six places: GPU-milliseconds as hours, micro-dollars as dollars."""
    return show_hours(amount) if asset == "GPU" else show_micro(amount)


def balance_in_words(kind: str) -> str:
    """Write the kind of a balance for people: "earnings_pending" → "Earnings pending"."""
    return kind.replace("_", " ").capitalize()


def kind_in_words(kind: str, *, comes_in: bool) -> str:
    """Write the kind of a transfer for whom it came to, or whom it left."""
    return KINDS.get(kind, (balance_in_words(kind),) * 2)[0 if comes_in else 1]


def owner_facts(statement: Any) -> list[Fact]:
    """Give what an owner's statement says of charges; nothing for others."""
    if statement.sold_ms is None:
        return []
    facts = [
        Fact(label, show_hours(getattr(statement, name)), "h")
        if unit == "hours"
        else Fact(label, show_micro(getattr(statement, name)), "USD")
        for name, (label, unit) in OWNER_FACTS.items()
    ]
    if statement.counted_minutes:
        # In hundredths of a per cent, rounded down: 100 is only what was always up.
        share = statement.up_minutes * 10_000 // statement.counted_minutes
        facts.append(Fact("Hosts were up", f"{share // 100}.{share % 100:02d}", "% of the time"))
    return facts


def csv_rows(balances: Iterable[Any], lines: Iterable[Any]) -> Iterator[list[Any]]:
    """Give the head, what each balance opened with, each movement with what was there after it, and the closings."""
    balances = list(balances)
    yield list(CSV_HEAD)
    after = {}
    for balance in balances:
        after[balance.kind, balance.asset_id] = balance.opening
        yield ["opening", "", balance.kind, balance.asset_id, "", "", "", *_sum(balance.opening, balance), "", "", ""]
    for line in lines:
        balance = line.balance
        after[balance.kind, balance.asset_id] += line.amount
        yield [
            *("transfer", line.at.isoformat(), balance.kind, balance.asset_id, line.kind),
            *_sum(line.amount, balance),
            *_sum(after[balance.kind, balance.asset_id], balance),
            *(line.ref, line.memo, str(line.id)),
        ]
    for balance in balances:
        yield ["closing", "", balance.kind, balance.asset_id, "", "", "", *_sum(balance.closing, balance), "", "", ""]
        if balance.held is not None:
            yield ["held", "", balance.kind, balance.asset_id, "", *_sum(balance.held, balance), "", "", "", "", ""]


def _sum(amount: int, balance: Any) -> tuple[Decimal, int]:
    # A Decimal tells the CSV that a minus begins a number, not a formula.
    return Decimal(shown(amount, balance.asset_id)), amount
