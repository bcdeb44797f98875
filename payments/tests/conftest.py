"""An owner with a wallet, two people of finance, and a provider that does what a test tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from accounts.ledger import check
from accounts.ledger.services import platform_balance, transfer
from accounts.models import Account, User
from accounts.services import wallet_balance
from gaas.lib import clock
from gaas.tests.cast import make_user
from payments import services
from payments.models import Contract, Payment, Payout, PayoutDestination
from payments.providers import PROVIDERS, Begun, ProviderRefused, ProviderUnreachable, Seen
from payments.providers.stripe import StripeProvider
from payments.tests import deals
from payments.tests.stripe_peer import SECRET, StripePeer, stripe_peer

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
    refuses: bool = False
    came_back: dict[str, int] = field(default_factory=dict)  # of transfers, in micro-dollars
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

    def platform(self) -> str:
        return "the bank"

    def is_elsewhere(self, platform: str) -> bool:
        return False

    def pay_out(self, payout: Payout, *, now: Any) -> tuple[str, Seen]:
        self._answer("pay_out", payout.provider_key)
        if self.refuses:
            raise ProviderRefused("account_invalid", "No such account.")
        return f"out_{payout.pk.hex}", Seen("succeeded", payout.net)

    def look_payout(self, payout: Payout) -> Seen:
        self._answer("look_payout", payout.provider_id)
        return Seen("succeeded", payout.net, facts={"returned": self.came_back.get(payout.provider_id, 0)})

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


@pytest.fixture
def stripe(monkeypatch: pytest.MonkeyPatch) -> Iterator[StripePeer]:
    """Set Stripe up with a peer on loopback that speaks its protocol."""
    with stripe_peer() as peer:
        provider = StripeProvider(
            key="sk_test_x",
            webhook_secrets=["whsec_of_last_year", SECRET],
            return_url="http://127.0.0.1/",
            base=peer.url,
        )
        # It is asked once, and long before a test has answers lost.
        provider.platform()
        peer.calls.clear()
        monkeypatch.setitem(PROVIDERS, "stripe", provider)
        yield peer


CONNECT = "acct_1032D82eZvKYlo2C"
# The first example of EIP-55.
EVM = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
IBAN = "DE89 3704 0044 0532 0130 00"
DETAILS = {"stripe": CONNECT, "onchain": EVM, "manual": IBAN}


@pytest.fixture
def earned(lab: Account) -> Callable[[], int]:
    """Let the lab have earned 100 dollars that it may take out; tell what is free of them."""
    return earn(lab, 100)


def earn(account: Account, usd: int) -> Callable[[], int]:
    source = platform_balance(asset="USD", kind="clearing:test")
    transfer(
        key=f"earned:{account.pk}",
        kind="matured",
        debit=source,
        credit=services.earnings_of(account),
        amount=usd * USD,
    )
    return lambda: services.earnings_of(account).available


@pytest.fixture
def place(lab: Account, alice: User) -> Callable[..., PayoutDestination]:
    """Add a destination for the lab's earnings that has been there for a while."""

    def make(kind: str = "manual", detail: str = "", **about: Any) -> PayoutDestination:
        User.objects.filter(pk=alice.pk).update(email_verified_at=clock.now())
        alice.refresh_from_db()
        return services.add_destination(
            account=lab,
            kind=kind,
            detail=detail or DETAILS[kind],
            by=alice,
            now=clock.now() - timedelta(days=4),
            **about,
        )

    return make


@pytest.fixture
def asked(place: Callable[..., PayoutDestination], earned: Callable[[], int], alice: User) -> Callable[..., Payout]:
    """Ask for a payout of the lab's earnings; each kind has one destination."""
    places: dict[str, PayoutDestination] = {}

    def make(usd: float = 40, kind: str = "manual") -> Payout:
        if kind not in places:
            places[kind] = place(kind)
        return services.request_payout(destination=places[kind], amount=int(usd * USD), by=alice, now=clock.now())

    return make


@pytest.fixture
def agreed(asked: Callable[..., Payout], fay: User) -> Callable[..., Payout]:
    """Ask for one, and let Fay agree to it."""

    def make(usd: float = 40, kind: str = "manual") -> Payout:
        return services.approve_payout(payout=asked(usd, kind), by=fay, now=clock.now())

    return make


@pytest.fixture
def branch(lab: Account, bob: User) -> Account:
    """An account below the lab, which has hours and money to give."""
    deals.rich(lab, usd=1000, hours=1000)
    return deals.a_branch(lab, bob)


@pytest.fixture
def giving(lab: Account, branch: Account, alice: User, bob: User) -> Callable[..., Contract]:
    """An allowance of 10 hours a month from the lab to its branch."""

    def make(at: datetime = deals.JAN, starts: str = "2027-01-01", **changes: Any) -> Contract:
        return deals.agreed("allowance", lab, branch, starts=starts, at=at, by=alice, yes=bob, **changes)

    return make


@pytest.fixture
def owner(olga: User) -> Account:
    return deals.an_owner(olga)


@pytest.fixture
def reserving(lab: Account, owner: Account, alice: User, olga: User, settings: Any) -> Callable[..., Contract]:
    """A reservation of 10 hours a month for 20 dollars."""
    settings.PLATFORM_FEE_PERCENT = "10"
    deals.rich(lab, usd=1000)

    def make(at: datetime = deals.JAN, starts: str = "2027-01-01", **changes: Any) -> Contract:
        return deals.agreed("reservation", lab, owner, starts=starts, at=at, by=alice, yes=olga, **changes)

    return make
