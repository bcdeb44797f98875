"""What the platform took in, kept and owes, month by month, from its books."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from accounts.models import Account
from payments.choices import StatementKind
from payments.models import Statement, StatementBalance
from payments.models.statement import month_of
from payments.services.statements import books_of

MONTHS = 12


@dataclass(frozen=True, kw_only=True)
class BooksMonth:
    """Sum up one month in micro-dollars, and in GPU-milliseconds for `used_ms`; what is owed is of its end."""

    month: date
    is_over: bool
    came_in: int
    went_out: int
    fees: int
    losses: int
    owed_to_payers: int
    owed_to_owners: int
    suspense: int
    used_ms: int

    @property
    def owed(self) -> int:
        return self.owed_to_payers + self.owed_to_owners + self.suspense


def books_by_month(*, now: datetime, months: int = MONTHS) -> list[BooksMonth]:
    """Give the last months that ended and the one that runs, the oldest first.

    A month that has ended and whose books are not made yet, for seconds after its end, is not among them: what
    moved in it then is in none.
    """
    ended = Statement.objects.filter(kind=StatementKind.BOOKS).order_by("-month").prefetch_related("balances")
    told = [_summed(row, row.balances.all(), is_over=True) for row in ended[: months - 1]]
    running = Statement(kind=StatementKind.BOOKS, account=Account.platform(), month=month_of(now.date())[0].date())
    return [*reversed(told), _summed(running, books_of(running), is_over=False)]


def _summed(statement: Statement, rows: Iterable[StatementBalance], *, is_over: bool) -> BooksMonth:
    money = [row for row in rows if row.asset_id == "USD"]
    used = next((row for row in rows if (row.asset_id, row.kind) == ("GPU", "used")), None)

    def of(kind: str, part: str) -> int:
        return sum(getattr(row, part) for row in money if row.kind == kind)

    clearing = [row for row in money if row.kind.startswith("clearing:")]
    return BooksMonth(
        month=statement.month,
        is_over=is_over,
        # What a provider took for us leaves its clearing balance for wallets; what is sent out enters it.
        came_in=sum(row.went for row in clearing),
        went_out=sum(row.came for row in clearing),
        fees=of("fees", "came") - of("fees", "went"),
        losses=of("loss", "went") - of("loss", "came"),
        owed_to_payers=of("wallet", "closing"),
        owed_to_owners=of("earnings", "closing") + of("earnings_pending", "closing"),
        suspense=of("suspense", "closing"),
        used_ms=(used.came - used.went) if used else 0,
    )
