"""Through whom money comes in: one module a provider, all behind the same few calls.

A provider only talks to the outside. It never writes rows and is never called inside a transaction: the
services store its answer. To add one, write a class with these methods, put it into `PROVIDERS`, add its name
to `payments.choices.Provider`, and let `docs/payments.md` say how it is set up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from django.conf import settings

from gaas.lib.amounts import parse_micro
from gaas.lib.errors import DomainError
from payments.choices import Provider as Name
from payments.models import Payment, Payout, Refund


class ProviderNotSetUp(DomainError):
    """Refuse a way of paying that this platform has not set up."""

    code = "provider_not_set_up"

    def __init__(self, name: str) -> None:
        known = ", ".join(sorted(PROVIDERS)) or "none"
        super().__init__(f"Payments by {name} are not set up here. Set up: {known}.", attr="provider")


class ProviderUnreachable(Exception):
    """State that nothing is known: the provider did not answer, or answered that it cannot now."""


class ProviderRefused(Exception):
    """State that the provider said no, finally. `code` is a word of ours, `detail` a sentence for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


@dataclass(frozen=True)
class Begun:
    """Say under which name the provider knows a payment, and what the payer has to do."""

    provider_id: str = ""
    instructions: dict[str, Any] = field(default_factory=dict)
    height: int | None = None  # the chain's newest block then


@dataclass(frozen=True)
class Seen:
    """Say how the provider sees a payment or a refund at this moment.

    `state` is pending, succeeded, failed or cancelled; `amount` in micro-dollars is what came in.
    """

    state: str
    amount: int = 0
    currency: str = "USD"
    failure: str = ""  # why it failed, as a word such as card_declined
    detail: str = ""
    provider_id: str = ""  # where it was not known at the beginning
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Listed:
    """Name one movement of money that a provider knows of: what `reconcile` compares with our rows.

    `what` is payment, refund or payout; `ours` the id of our row that our mark on it names, "" where it bears none.
    """

    what: str
    provider_id: str
    amount: int  # micro-dollars
    at: datetime
    ours: str = ""


class PaymentProvider(Protocol):
    """Talk to one provider. Each call but `check` raises ProviderUnreachable or ProviderRefused, and may be repeated.

    `methods` are the ways in which it can be paid, the usual one first.
    """

    methods: tuple[str, ...]

    def check(self, amount: int) -> None:
        """Raise DomainError for an amount in micro-dollars that it cannot take. Asks nobody."""

    def begin(self, payment: Payment) -> Begun:
        """Make the payment known there, by our key: called twice, it is one payment."""

    def look(self, payment: Payment) -> Seen:
        """Ask how it stands."""

    def give_up(self, payment: Payment) -> Seen:
        """Cancel it there if nothing was paid; answer how it stands then."""

    def refund(self, refund: Refund) -> tuple[str, Seen]:
        """Send a part back, by our key; give the provider's id of the refund and how it stands."""

    def look_payout(self, payout: Payout) -> Seen:
        """Ask how a payout stands that was sent; `facts["returned"]` are micro-dollars that came back."""


class PaysOut(Protocol):
    """Send payouts too; where no provider does, people send them and note how."""

    def platform(self) -> str:
        """Say from whose account there the calls are made, or by which key where it does not tell."""

    def is_elsewhere(self, platform: str) -> bool:
        """Tell whether what a `platform` did is known to be another account's than the one that is called now."""

    def pay_out(self, payout: Payout, *, now: datetime) -> tuple[str, Seen]:
        """Send it, by our key: called twice, it is sent once. Give the provider's id and how it stands."""


class Lists(Protocol):
    """List what moved; where a provider cannot, its statements are compared by people."""

    def listed(self, since: datetime) -> Iterable[Listed]:
        """Give all that came in, went back or was paid out since a moment, ours or not."""


PROVIDERS: dict[str, PaymentProvider] = {}


def set_up() -> None:
    """Put the providers in place for which the settings have keys."""
    from payments.providers.stripe import StripeProvider

    if settings.STRIPE_SECRET_KEY:
        PROVIDERS[Name.STRIPE] = StripeProvider(
            key=settings.STRIPE_SECRET_KEY,
            publishable_key=settings.STRIPE_PUBLISHABLE_KEY,
            webhook_secrets=settings.STRIPE_WEBHOOK_SECRETS,
            return_url=f"{settings.BASE_URL}/accounts/",
            base=settings.STRIPE_API_BASE,
        )
    if settings.CHAIN_RPC_URLS:
        from payments.providers.onchain import Chain, OnchainProvider, address_of

        PROVIDERS[Name.ONCHAIN] = OnchainProvider(
            Chain(
                chain_id=settings.CHAIN_ID,
                receiver=address_of(settings.CHAIN_RECEIVER, "CHAIN_RECEIVER"),
                token=settings.CHAIN_TOKEN and address_of(settings.CHAIN_TOKEN, "CHAIN_TOKEN"),
                symbol=settings.CHAIN_SYMBOL,
                decimals=settings.CHAIN_DECIMALS,
                usd_micro=parse_micro(settings.CHAIN_USD),
                confirmations=settings.CHAIN_CONFIRMATIONS,
            ),
            settings.CHAIN_RPC_URLS,
        )


def provider_of(name: str) -> PaymentProvider:
    """Give the provider, or raise ProviderNotSetUp. Manual payments have none: people are their provider."""
    try:
        return PROVIDERS[name]
    except KeyError:
        raise ProviderNotSetUp(Name(name).label) from None
