"""What Stripe tells us: stored once, answered at once, looked into afterwards.

An event names an object; its effect is what that object asks for as it stands when it is fetched. So it does not
matter in which order events come, how often, or whether one is lost: the poller finds the same.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F

from payments.choices import PAYMENT_PAID, Provider
from payments.models import Payment, Payout, Refund, WebhookEvent
from payments.providers import ProviderRefused, ProviderUnreachable, provider_of
from payments.providers.stripe import CENT, mark_of, seen_of_refund
from payments.services.begin import apply
from payments.services.disputes import close_dispute, open_dispute
from payments.services.payout_sending import look_back
from payments.services.refunds import apply_refund, note_foreign_refund
from payments.services.reviews import ask

log = logging.getLogger("app")

LONGEST_WAIT = timedelta(hours=1)
# An inquiry of a bank takes no money, so nothing is booked for it.
_INQUIRIES = ("warning_needs_response", "warning_under_review", "warning_closed")


def keep_event(*, event: dict[str, Any], now: datetime) -> WebhookEvent:
    """Store an event, once for its id, and have it looked into after the commit."""
    about = event.get("data", {}).get("object", {})
    about = about if isinstance(about, dict) else {}
    # Whoever has it can complete the payment; nothing here asks for it.
    about.pop("client_secret", None)
    fields = {"kind": str(event.get("type", ""))[:100], "about": str(about.get("id", ""))[:200], "payload": event}
    row = WebhookEvent(provider=Provider.STRIPE, event_id=str(event["id"])[:200], due_at=now, **fields)
    WebhookEvent.objects.bulk_create([row], ignore_conflicts=True)
    kept = WebhookEvent.objects.get(provider=Provider.STRIPE, event_id=row.event_id)
    if kept.pk == row.pk:
        transaction.on_commit(lambda: _hint(kept.pk), robust=True)
    return kept


def process_event(*, event_id: UUID, now: datetime) -> bool:
    """Look into one event; return whether this call finished it. Safe to call any number of times.

    1. Put the next look off, so that of many callers one looks. 2. Fetch and do. 3. Note that it is done.
    """
    row = WebhookEvent.objects.get(pk=event_id)
    claim = WebhookEvent.objects.filter(pk=row.pk, due_at=row.due_at, due_at__lte=now)
    wait = min(timedelta(seconds=20 * 2 ** min(row.tries, 10)), LONGEST_WAIT)
    if row.due_at is None or not claim.update(due_at=now + wait, tries=F("tries") + 1, updated_at=now):
        return False
    stripe: Any = provider_of(Provider.STRIPE)
    try:
        _look_into(row, stripe, now)
    except (ProviderUnreachable, ProviderRefused) as trouble:
        WebhookEvent.objects.filter(pk=row.pk).update(problem=str(trouble)[:2000], updated_at=now)
        return False
    WebhookEvent.objects.filter(pk=row.pk).update(due_at=None, done_at=now, problem="", updated_at=now)
    return True


def _look_into(row: WebhookEvent, stripe: Any, now: datetime) -> None:
    thing: dict[str, Any] = row.payload.get("data", {}).get("object", {})
    family = row.kind.split(".")[0]
    if family == "payment_intent":
        _payment((thing.get("metadata") or {}).get("payment"), stripe, now)
    elif family == "checkout":
        _payment(thing.get("client_reference_id"), stripe, now)
    elif row.kind.startswith("charge.dispute."):
        _dispute(stripe.dispute(row.about), stripe, now)
    elif family == "transfer":
        _payout(thing, now)
    elif family in ("charge", "refund"):
        _refunds(thing, stripe, now)


def _payment(payment_id: Any, stripe: Any, now: datetime) -> Payment | None:
    """Bring a payment to where Stripe has it now; None for one that is not ours."""
    payment = _ours(payment_id)
    if payment is None or not payment.provider_id:
        return payment
    return apply(payment_id=payment.pk, seen=stripe.look(payment), now=now)


def _refunds(thing: dict[str, Any], stripe: Any, now: datetime) -> None:
    """Compare all refunds of a payment there with ours: those that we sent, and those made in the dashboard."""
    intent = thing.get("payment_intent")
    payment = _payment(stripe.payment_of_intent(intent), stripe, now) if intent else None
    if payment is None or payment.status not in PAYMENT_PAID:
        return
    for found in stripe.refunds_of(payment):
        mine = payment.refunds.all()
        marked = _uuid(mark_of(found, "refund"))
        known = mine.filter(pk=marked).first() if marked else mine.filter(provider_id=found.id).first()
        seen = seen_of_refund(found)
        if known is not None:
            if known.provider_id != found.id:
                Refund.objects.filter(pk=known.pk).update(provider_id=found.id, updated_at=now)
            apply_refund(refund_id=known.pk, seen=seen, now=now)
        elif seen.state == "succeeded":
            made = note_foreign_refund(payment_id=payment.pk, provider_id=found.id, amount=seen.amount, now=now)
            if made is None:
                ask(
                    key=f"stripe:refund:{found.id}",
                    provider=Provider.STRIPE,
                    code="refund_beyond_payment",
                    detail="Stripe sent back more than came in, or of a payment that is contested.",
                    facts={"refund": found.id, "cents": found.amount},
                    payment=payment,
                )


def _dispute(found: Any, stripe: Any, now: datetime) -> None:
    if found.status in _INQUIRIES:
        return
    facts = {"dispute": found.id, "cents": found.amount, "currency": found.currency, "status": found.status}
    payment = _contested(found, stripe, now)
    if payment is None:
        _ask_about(
            found, "dispute_of_unknown_payment", "A payment is contested that this platform does not know.", facts
        )
        return
    if found.currency.upper() != "USD":
        detail = f"The payment came in US dollars, and is contested in {found.currency.upper()}."
        _ask_about(found, "dispute_in_another_currency", detail, facts, payment)
        return
    opened = open_dispute(
        payment_id=payment.pk, provider_id=found.id, amount=found.amount * CENT, reason=found.reason, now=now
    )
    if opened is None and Payment.objects.filter(pk=payment.pk, refunding__gt=0).exists():
        # It may fail, and then there is enough to contest.
        raise ProviderUnreachable("A refund of the contested payment is under way: waiting for how it ends.")
    if opened is None:
        _ask_about(found, "dispute_beyond_payment", "More is contested than is left of the payment.", facts, payment)
    elif found.status in ("won", "lost"):
        close_dispute(provider_id=found.id, won=found.status == "won", now=now)


def _payout(thing: dict[str, Any], now: datetime) -> None:
    """Look whether what we paid out came back."""
    marked = _uuid((thing.get("metadata") or {}).get("payout"))
    if marked and Payout.objects.filter(pk=marked, provider=Provider.STRIPE).exists():
        look_back(payout_id=marked, now=now)


def _contested(found: Any, stripe: Any, now: datetime) -> Payment | None:
    """Give our payment that a dispute is about, brought to where Stripe has it now; None for one that is not ours."""
    if not found.payment_intent:
        return None
    try:
        marked = stripe.payment_of_intent(found.payment_intent)
    except ProviderRefused:
        # Stripe has no such intent, or none that these keys may see.
        return None
    return _payment(marked, stripe, now)


def _ask_about(found: Any, code: str, detail: str, facts: dict[str, Any], payment: Payment | None = None) -> None:
    """Put a dispute that cannot be booked before a person, once."""
    ask(
        key=f"stripe:dispute:{found.id}",
        provider=Provider.STRIPE,
        code=code,
        detail=detail,
        facts=facts,
        payment=payment,
    )


def _ours(payment_id: Any) -> Payment | None:
    pk = _uuid(payment_id)
    return None if pk is None else Payment.objects.filter(pk=pk, provider=Provider.STRIPE).first()


def _uuid(text: Any) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None


def _hint(event_id: UUID) -> None:
    from payments.actors import look_into_event

    look_into_event.send(event_id=str(event_id))
