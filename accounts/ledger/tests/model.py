"""The ledger once more in plain Python, without a database: what the state machine compares with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from accounts.ledger import services as ledger
from gaas.lib.errors import DomainError

MAY, JUNE = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
HOURS = ("alice", "bob", "grant", "used")
MONEY = ("wallet", "earnings", "fees", "clearing")
LAZY = ("grant", "used", "fees", "clearing")
LIMITS = {"child": 150, "team": 200}


def asset(name: str) -> str:
    return "GPU" if name in HOURS else "USD"


@dataclass
class Pot:
    posted: int = 0
    held: int = 0
    frozen_in: bool = False
    frozen_out: bool = False


@dataclass
class Promise:
    pot: str
    opened_with: int
    amount: int
    caps: frozenset[str]
    captured: int = 0
    released: int = 0
    state: str = "open"

    @property
    def rest(self) -> int:
        return self.amount - self.captured - self.released


@dataclass
class Moved:
    """One movement in the model; compared whole to tell a replay from a reused key."""

    debit: str
    credit: str
    amount: int
    promise: str = ""
    reverses: str = ""


class Books:
    """Keep the state that the ledger should have, and know which refusals are due."""

    pots: dict[str, Pot]
    limits: dict[str, int]
    promises: dict[str, Promise]
    moves: dict[str, Moved]

    def open_books(self) -> None:
        self.pots = {name: Pot() for name in HOURS + MONEY}
        self.limits = dict(LIMITS)
        self.promises, self.moves = {}, {}

    def spendable(self, name: str, amount: int) -> set[type[DomainError]]:
        pot = self.pots[name]
        if pot.frozen_out:
            return {ledger.BalanceFrozen}
        return {ledger.InsufficientBalance} if name not in LAZY and pot.posted - pot.held < amount else set()

    def receivable(self, name: str) -> set[type[DomainError]]:
        return {ledger.BalanceFrozen} if self.pots[name].frozen_in else set()

    def used_of(self, cap: str) -> int:
        return sum(promise.amount - promise.released for promise in self.promises.values() if cap in promise.caps)

    def capped(self, caps: frozenset[str], amount: int) -> set[type[DomainError]]:
        return {ledger.CapExceeded for cap in caps if self.used_of(cap) + amount > self.limits[cap]}

    def book(self, key: str, moved: Moved) -> None:
        self.moves[key] = moved
        self.pots[moved.debit].posted -= moved.amount
        self.pots[moved.credit].posted += moved.amount

    def give_back(self, promise: Promise, amount: int) -> None:
        promise.released += amount
        self.pots[promise.pot].held -= amount
