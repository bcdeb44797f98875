"""A family in three generations with somebody in each role, for the tests of trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.db import connection

from accounts import services
from accounts.choices import Role
from accounts.ledger import check
from accounts.ledger.services import platform_balance, transfer
from accounts.models import Account, Membership, User
from gaas.lib import clock
from gaas.tests.cast import make_user

HOUR = 3_600_000
USD = 1_000_000


@pytest.fixture
def sound_books(db: None) -> Iterator[None]:
    """Fail the test when it leaves books that do not add up."""
    yield
    assert [f"{result.number}: {problem}" for result in check.run() for problem in result.problems] == []


@pytest.fixture
def postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("threads prove nothing on SQLite, which has one writer at a time")


@pytest.fixture
def school(db: None) -> Account:
    """An organisation with 100 hours and 100 dollars."""
    account = Account.objects.create(name="School")
    services.grant_hours(account=account, gpu_ms=100 * HOUR, by=None, reason="A year", key="school")
    transfer(
        key="school:money",
        kind="topup",
        debit=platform_balance(asset="USD", kind="clearing:test"),
        credit=services.wallet_balance(account),
        amount=100 * USD,
    )
    return account


@pytest.fixture
def form(school: Account) -> Account:
    """A class of the school that pays for itself."""
    return Account.objects.create(name="Form", parent=school)


@pytest.fixture
def people(school: Account, form: Account) -> dict[str, User]:
    """Somebody verified in each role of the form, of the school above it, and in none."""
    cast = {"outsider": make_user("outsider", email_verified_at=clock.now())}
    for account, prefix in ((form, ""), (school, "school_")):
        for role in Role:
            name = f"{prefix}{role.value.lower()}"
            user = make_user(name, email_verified_at=clock.now())
            Membership.objects.create(account=account, user=user, role=role)
            cast[name] = user
    return cast


@pytest.fixture
def head(people: dict[str, User]) -> User:
    """Who manages the school."""
    return people["school_manager"]


@pytest.fixture
def verify() -> Callable[[User], User]:
    """Note that somebody reads the mail of their address."""

    def verified(user: User) -> User:
        user.email_verified_at = clock.now()
        user.save(update_fields=["email_verified_at"])
        return user

    return verified
