"""Money and hours as docs/ledger.md has them, in plain Python: no database, nothing of the project's arithmetic."""

from __future__ import annotations

from calendar import monthrange
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

HOUR, USD = 3_600_000, 1_000_000
FEE = 10  # percent
CEILING = 3_000_003  # micro-dollars an hour that a task is ready to pay
PAYOUT_FEE = 250_000
AWAY_PERIODS = 2  # of a reservation that are carried on while no host of the owner is seen
QUARTER = HOUR // 4


class Books:
    """What each balance has and what of it is promised; every movement has two sides."""

    def __init__(self) -> None:
        self.has: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self.spent: Counter[str] = Counter()

    def free(self, what: str) -> int:
        return self.has[what] - self.held[what]

    def move(self, source: str, target: str, amount: int, *, spends: bool = True) -> None:
        self.has[source] -= amount
        self.has[target] += amount
        self.spent[source] += amount if spends else 0

    def pay(self, wallet: str, charge: int, owner: str = "owner earnings_pending") -> None:
        """Take a charge: the fee for the platform, the rest for the owner."""
        fee = fee_of(charge)
        self.move(wallet, "fees", fee)
        self.move(wallet, owner, charge - fee)

    def come(self, whose: str, source: str, amount: int) -> None:
        """Put money in a wallet, and out of it what is owed, as far as it is free."""
        wallet, debt = f"{whose} wallet", f"{whose} debt"
        self.move(source, wallet, amount)
        self.move(wallet, debt, max(0, min(-self.has[debt], amount, self.free(wallet))))

    def take_back(self, whose: str, target: str, amount: int) -> None:
        """Take what has left the platform already: what is free in the wallet, then of earnings; the rest is owed."""
        for what in ("wallet", "earnings"):
            part = min(amount, self.free(f"{whose} {what}"))
            self.move(f"{whose} {what}", target, part)
            amount -= part
        self.move(f"{whose} debt", target, amount)


def fee_of(charge: int) -> int:
    return charge * FEE // 100


def worth(price: int, ms: int) -> int:
    return price * ms // HOUR


@dataclass
class Work:
    """A task: whose balance holds how much, and the milliseconds a GPU that count, attempt by attempt."""

    payer: str
    funding: str
    gpus: int
    limit: int
    goes_on: bool
    held: int
    counted: list[tuple[int, int, bool]] = field(default_factory=list)  # from, to, whether the platform pays
    in_parts: int = 0  # of the attempt that runs, charged already
    captured: int = 0  # in parts, of all attempts
    before: int = 0  # what counts of earlier attempts
    elapsed: int = 0
    may_end: bool = False  # it was called off, or its next hour was refused

    @property
    def left(self) -> int:
        """Give the limit of the attempt that runs, or of the next one."""
        return self.limit - self.before

    def to_hold(self, ms: int) -> int:
        return self.gpus * ms if self.funding != "wallet" else -(-CEILING * self.gpus * ms // HOUR)


@dataclass
class Terms:
    amount: int
    price: int
    begins: int = 0


@dataclass
class Open:
    """A paid period that is not settled: what it gave, when to look at its end, what had been spent before.

    `until` is how long it gives hours: what tasks held at its end is looked at again, and given to nobody.
    """

    no: int
    amount: int
    opened_at: datetime
    ends_at: datetime
    until: datetime
    spent: int
    is_carried: bool = False
    carried: int = 0


@dataclass
class Deal:
    """A contract as docs/contracts.md has it: which steps it takes by a moment, and what they move."""

    pk: Any
    source: str  # what pays the period
    target: str  # where what it gives goes
    anchor: date
    by_month: bool
    terms: list[Terms]
    is_reservation: bool = False
    roll_over: str = "keep"
    catch_up: str = "skip"
    shortfall: str = "retry"
    status: str = "ACTIVE"
    first: int = 0
    next_no: int = 0
    stop_no: int | None = None
    tries: int = 0
    retry_at: datetime | None = None
    pauses: list[tuple[datetime, datetime | None]] = field(default_factory=list)
    open: list[Open] = field(default_factory=list)
    paid: list[bool] = field(default_factory=list)
    last: Open | None = None

    def due(self, no: int) -> datetime:
        steps = self.first + no
        if not self.by_month:
            day = self.anchor + timedelta(weeks=steps)
        else:
            year, month = divmod(self.anchor.year * 12 + self.anchor.month - 1 + steps, 12)
            day = date(year, month + 1, min(self.anchor.day, monthrange(year, month + 1)[1]))
        return datetime(day.year, day.month, day.day, tzinfo=UTC)

    def first_after(self, now: datetime) -> int:
        no = self.next_no
        while self.due(no) <= now:
            no += 1
        return no

    def terms_of(self, no: int) -> Terms:
        return next(terms for terms in reversed(self.terms) if terms.begins <= no)

    def pause(self, now: datetime) -> None:
        self.status = "PAUSED"
        self.pauses.append((now, None))

    def resume(self, now: datetime) -> None:
        self._end_pause(now)
        self.status, self.tries, self.retry_at = "ACTIVE", 0, None

    def bring_on(self, books: Books, now: datetime, seen_at: datetime) -> None:
        """Take all steps due by now; `seen_at`: when a host of the owner was heard last."""
        while self._step(books, now, seen_at):
            pass

    def _step(self, books: Books, now: datetime, seen_at: datetime) -> bool:
        if self.open and self._open_until() <= now:
            self._close(books, now, seen_at)
            return True
        if self.status == "ENDED":
            return False
        due = self.due(self.next_no)
        pause = next(((a, b) for a, b in self.pauses if a < due and (b is None or due < b)), None)
        rests = pause is not None and pause[1] is None
        if self.stop_no is not None and self.due(self.stop_no) <= now and (rests or self.next_no >= self.stop_no):
            self._end(books, now)
            return True
        if rests or due > now:
            return False
        if pause is not None and self.catch_up == "skip":
            self._count_on(paid=False)
            return True
        if self.status == "SUSPENDED" or (self.retry_at is not None and self.retry_at > now):
            return False
        terms = self.terms_of(self.next_no)
        if books.free(self.source) < (terms.price if self.is_reservation else terms.amount):
            self._fall_short(now)
            return True
        if self.is_reservation:
            books.pay(self.source, terms.price)
            books.move("grant", self.target, terms.amount)
        else:
            books.move(self.source, self.target, terms.amount)
        until = self.due(self.next_no + 1)
        ends_at = until if now < until else now + (until - due)
        self.last = Open(self.next_no, terms.amount, now, ends_at, ends_at, books.spent[self.target])
        self.open.append(self.last)
        self._count_on(paid=True)
        return True

    def _count_on(self, *, paid: bool) -> None:
        self.paid.append(paid)
        self.next_no += 1
        self.tries, self.retry_at = 0, None
        if self.status == "PAST_DUE":
            self.status = "ACTIVE"

    def _fall_short(self, now: datetime) -> None:
        if self.shortfall == "skip":
            self._count_on(paid=False)
            return
        self.tries, self.retry_at = self.tries + 1, now + timedelta(days=1)
        if self.status == "PAUSED":
            return
        self.status = "PAST_DUE"
        if self.tries >= 5:
            self.status = "SUSPENDED"
            self.pauses.append((self.due(self.next_no) - timedelta(microseconds=1), None))

    def gives(self, now: datetime) -> bool:
        """Tell whether tasks may spend a reservation's hours."""
        return self.status != "ENDED" or any(row.until > now for row in self.open)

    def _open_until(self) -> datetime:
        return max(row.ends_at for row in self.open if not row.is_carried or row is self.open[-1])

    def _close(self, books: Books, now: datetime, seen_at: datetime) -> None:
        over, last = self.status == "ENDED", self.open[-1]
        lapses = self.roll_over != "keep" or (over and self.is_reservation)
        if self.is_reservation and seen_at < self.open[0].opened_at:
            if self.open[0].carried < AWAY_PERIODS:
                self.open[0].carried += 1
                last.ends_at = last.until = now + (self.due(last.no + 1) - self.due(last.no))
                last.is_carried = True
                return
            if self.status in ("ACTIVE", "PAST_DUE"):
                self._end(books, now)  # nothing more is paid to who is gone
                return
        if lapses:
            free, amount = books.free(self.target), books.free(self.target)
            if not self.is_reservation:
                spent = books.spent[self.target] - self.open[0].spent + books.held[self.target]
                amount = min(free, max(0, sum(row.amount for row in self.open) - spent))
            books.move(self.target, "expired" if self.roll_over != "return" else self.source, amount, spends=False)
        if over and self.is_reservation and books.held[self.target]:
            last.ends_at = now + timedelta(hours=6)
            return
        self.open.clear()

    def _end(self, books: Books, now: datetime) -> None:
        self._end_pause(now)
        self.status, self.retry_at = "ENDED", None
        if self.is_reservation and books.has[self.target] and not self.open and self.last is not None:
            self.last.ends_at = self.last.until = now
            self.open.append(self.last)

    def _end_pause(self, now: datetime) -> None:
        self.pauses = [(begin, max(begin, now) if end is None else end) for begin, end in self.pauses]
