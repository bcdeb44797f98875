"""Compare what providers say moved with our rows: what a restored backup has forgotten, and what came past us."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from gaas.lib.amounts import show_micro
from payments.choices import PAYMENT_PAID, PAYOUT_SENT, Provider, RefundStatus
from payments.models import Payment, Payout, Refund
from payments.providers import PROVIDERS, Listed

# What moved a moment ago may not have been told to us yet: its event, or the poller, will.
FRESH = timedelta(minutes=15)


@dataclass(frozen=True)
class Compared:
    """Say what one provider's list and our rows do not agree on; `foreign` movements bear no mark of ours."""

    provider: str
    listed: int
    foreign: int
    differences: list[str]


def reconcile(*, since: datetime, now: datetime) -> Iterator[Compared]:
    """Compare each provider that can list with our rows, in both directions. Writes nothing.

    Raises ProviderUnreachable, since half a list would accuse the other half.
    """
    for name, provider in PROVIDERS.items():
        listed = getattr(provider, "listed", None)
        if listed is None:
            continue
        rows = [row for row in listed(since) if row.at <= now - FRESH]
        yield _compare(Provider(name), rows, since, now)


def _compare(name: Provider, rows: list[Listed], since: datetime, now: datetime) -> Compared:
    differences: list[str] = []
    foreign = 0
    known: set[UUID] = set()
    for row in rows:
        found = _row_of(name, row)
        if found is not None:
            known.add(found.pk)
            differences += _of_pair(name, row, found)
        elif row.ours or name == Provider.ONCHAIN:
            about = f" for our {row.what} {row.ours}" if row.ours else ""
            differences.append(
                f"{name.label} has a {row.what} of {show_micro(row.amount)} USD of {row.at:%Y-%m-%d %H:%M} "
                f"({row.provider_id}){about}, which is not in the books."
            )
        else:
            foreign += 1
    for what, ours in _said_to_have_moved(name, since, now):
        if ours.pk not in known:
            differences.append(
                f"The {what} {ours.pk} of {show_micro(ours.amount)} USD moved by the books, "
                f"and {name.label} lists no such {what}."
            )
    if name == Provider.ONCHAIN:
        differences += _sent_and_not_shown(since, now)
    return Compared(name.label, len(rows), foreign, differences)


def _row_of(name: Provider, row: Listed) -> Any:
    """Find our row: by our mark on theirs, else by their name in ours."""
    rows: Any = {
        "payment": Payment.objects.filter(provider=name),
        "refund": Refund.objects.filter(payment__provider=name).select_related("payment"),
        "payout": Payout.objects.filter(provider=name),
    }[row.what]
    if row.ours:
        try:
            return rows.filter(pk=UUID(row.ours)).first()
        except ValueError:
            return None
    return rows.filter(provider_id=row.provider_id).first()


def _of_pair(name: Provider, row: Listed, found: Any) -> Iterator[str]:
    said = f"The {row.what} {found.pk} of {show_micro(row.amount)} USD moved at {name.label} ({row.provider_id})"
    if row.what == "payment":
        if found.status not in PAYMENT_PAID:
            if not found.reviews.exists():
                yield f"{said} and is {found.status} in the books."
        elif found.received != row.amount and not found.reviews.exists():
            yield f"{said}; the books have {show_micro(found.received)} USD of it."
    elif row.what == "refund":
        if found.status not in (RefundStatus.SUCCEEDED, RefundStatus.SENDING, RefundStatus.UNKNOWN):
            yield f"{said} and is {found.status} in the books."
    elif found.status not in PAYOUT_SENT | {"SENDING", "UNKNOWN"}:
        yield f"{said} and is {found.status} in the books."
    elif found.net != row.amount:
        yield f"{said}; the books have {show_micro(found.net)} USD of it."


def _sent_and_not_shown(since: datetime, now: datetime) -> Iterator[str]:
    """Ask the chain about each payout and refund that went by our word: nobody lists what purses of people sent."""
    chain: Any = PROVIDERS[Provider.ONCHAIN]
    for what, row, went_on in _sent_by_hand(since, now):
        said = f"The {what} {row.pk} of {show_micro(row.amount)} USD"
        if went_on != str(chain.chain.chain_id):
            yield f"{said} went on chain {went_on}, which is not set up: look there."
        elif why := _why_not(chain, what, row):
            yield f"{said} moved by the books, and not on the chain: {why}"


def _sent_by_hand(since: datetime, now: datetime) -> Iterator[tuple[str, Any, str]]:
    """Give what people sent on a chain, and on which."""
    at = {"created_at__gte": since, "created_at__lte": now - FRESH}
    paid = Payout.objects.filter(provider=Provider.ONCHAIN, status__in=sorted(PAYOUT_SENT), **at)
    for payout in paid.iterator():
        yield "payout", payout, payout.instructions["chain_id"]
    returned = Refund.objects.filter(payment__provider=Provider.ONCHAIN, status=RefundStatus.SUCCEEDED, **at)
    for refund in returned.select_related("payment__chain").iterator():
        yield "refund", refund, str(refund.payment.chain.chain_id)


def _why_not(chain: Any, what: str, row: Any) -> str:
    """Say why the chain does not show a payout or refund; empty where it does."""
    if what == "refund":
        return str(chain.why_not_sent(row, row.reference))
    seen = chain.look_payout(row)
    return "" if seen.state == "succeeded" else seen.detail or "Not deep enough."


def _said_to_have_moved(name: Provider, since: datetime, now: datetime) -> Iterator[tuple[str, Any]]:
    """Give our rows that the list must have: begun since, and moved by our word."""
    at = {"created_at__gte": since, "created_at__lte": now - FRESH}
    for payment in Payment.objects.filter(provider=name, received__gt=0, **at).iterator():
        yield "payment", payment
    if name == Provider.STRIPE:
        sent = Refund.objects.filter(payment__provider=name, status=RefundStatus.SUCCEEDED, **at)
        for refund in sent.select_related("payment").iterator():
            yield "refund", refund
        for payout in Payout.objects.filter(provider=name, status__in=sorted(PAYOUT_SENT), **at).iterator():
            yield "payout", payout
