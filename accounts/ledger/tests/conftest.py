"""Balances that every test of the ledger knows, and books that must be sound when it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from django.db import connection

from accounts.ledger import check
from accounts.ledger.models import Balance
from accounts.ledger.services import open_balance, platform_balance, transfer

# What the ledger registers itself. Others' invariants miss the tasks and payments behind these tests' holds.
OWN = (1, 2, 3, 4, 5, 6, 7, 10, 14)


def problems() -> list[str]:
    return [f"{result.number}: {problem}" for result in check.run(only=OWN) for problem in result.problems]


def state_of(balance: Balance) -> tuple[int | None, int]:
    """Give (posted, held) as stored now."""
    return Balance.objects.values_list("posted", "held").get(pk=balance.pk)


@pytest.fixture
def sound_books(db: None) -> Iterator[None]:
    """Fail the test when it leaves books that do not add up."""
    yield
    assert problems() == []


@pytest.fixture
def grant(db: None) -> Balance:
    return platform_balance(asset="GPU", kind="grant")


@pytest.fixture
def used(db: None) -> Balance:
    return platform_balance(asset="GPU", kind="used")


@pytest.fixture
def fees(db: None) -> Balance:
    return platform_balance(asset="USD", kind="fees")


@pytest.fixture
def funded(db: None) -> Callable[..., Balance]:
    """Open a balance and put something in it."""

    def fund(owner: str, amount: int, *, asset: str = "GPU") -> Balance:
        kind, source = ("hours", "grant") if asset == "GPU" else ("wallet", "clearing:test")
        balance = open_balance(asset=asset, kind=kind, owner_key=f"acct:{owner}")
        if amount:
            transfer(
                key=f"fund:{owner}:{asset}",
                kind="grant",
                debit=platform_balance(asset=asset, kind=source),
                credit=balance,
                amount=amount,
            )
        balance.refresh_from_db()
        return balance

    return fund


@pytest.fixture
def hours(funded: Callable[..., Balance]) -> Balance:
    """Give Alice 100 GPU-milliseconds."""
    return funded("alice", 100)


@pytest.fixture
def wallet(funded: Callable[..., Balance]) -> Balance:
    """Give Alice 100 micro-dollars."""
    return funded("alice", 100, asset="USD")


@pytest.fixture
def earnings(db: None) -> Balance:
    return open_balance(asset="USD", kind="earnings_pending", owner_key="acct:olga")


@pytest.fixture
def postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("threads prove nothing on SQLite, which has one writer at a time")


def race(*calls: Callable[[], object]) -> list[object]:
    """Start all calls at one moment, each on a connection of its own; give what each returned or raised."""
    gate = threading.Barrier(len(calls))
    outcomes: list[object] = [None] * len(calls)

    def run(number: int, call: Callable[[], object]) -> None:
        try:
            gate.wait(120)
            outcomes[number] = call()
        except Exception as error:
            outcomes[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads), "a race never ended"
    return outcomes
