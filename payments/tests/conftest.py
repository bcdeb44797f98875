"""An owner with a wallet, two people of finance, and a provider that does what a test tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from accounts.ledger import check
from accounts.models import Account, User
from accounts.services import wallet_balance
from gaas.lib import clock
from gaas.tests.cast import make_user
from payments import services
from payments.models import Payment
from payments.providers import PROVIDERS, Begun, ProviderUnreachable, Seen

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


def clerk(name: str) -> User:
    user = make_user(name, is_staff=True)
    user.groups.add(Group.objects.get(name="Finance"))
    return user


@pytest.fixture
def fay(db: None) -> User:
    """One of two in finance."""
    return clerk("Fay")


@pytest.fixture
def fred(db: None) -> User:
    """The other one."""
    return clerk("Fred")


@pytest.fixture
def wallet(lab: Account) -> Callable[[], int]:
    """Tell what the lab's wallet has free, in micro-dollars."""
    return lambda: wallet_balance(lab).available


@pytest.fixture
def paid(lab: Account, fay: User, fred: User) -> Callable[..., Payment]:
    """Make a payment that came in by hand."""

    def make(usd: int = 50, reference: str = "R-1", account: Account = lab) -> Payment:
        payment = services.record_payment(
            account=account, amount=usd * USD, method="bank transfer", reference=reference, by=fay, now=clock.now()
        )
        if not payment.is_paid:
            payment = services.approve_payment(payment=payment, by=fred, now=clock.now())
        return payment

    return make


@dataclass
class Bank:
    """Stand at the outer edge as a provider: answers what it was told to, and remembers what it was asked.

    It is no model of Stripe or of a chain; those are tested against peers that speak their protocols.
    """

    methods: tuple[str, ...] = ("page",)
    seen: Seen = field(default_factory=lambda: Seen("pending"))
    refunds: Seen = field(default_factory=lambda: Seen("succeeded"))
    is_down: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)

    def check(self, amount: int) -> None:
        """Take any amount."""

    def begin(self, payment: Payment) -> Begun:
        self._answer("begin", payment.provider_key)
        return Begun(f"bank_{payment.pk.hex}", {"go_to": "https://bank.example/pay"})

    def look(self, payment: Payment) -> Seen:
        self._answer("look", payment.provider_id)
        return self.seen

    def give_up(self, payment: Payment) -> Seen:
        self._answer("give_up", payment.provider_id)
        return self.seen if self.seen.state == "succeeded" else Seen("cancelled")

    def refund(self, refund: Any) -> tuple[str, Seen]:
        self._answer("refund", str(refund.pk))
        return f"back_{refund.pk.hex}", self.refunds

    def _answer(self, what: str, about: str) -> None:
        self.asked.append((what, about))
        if self.is_down:
            raise ProviderUnreachable("The bank does not answer.")


@pytest.fixture
def bank(monkeypatch: pytest.MonkeyPatch) -> Bank:
    """Set up a provider under the name of Stripe."""
    bank = Bank()
    monkeypatch.setitem(PROVIDERS, "stripe", bank)
    return bank
