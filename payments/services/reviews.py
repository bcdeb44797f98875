"""What no rule may decide: put before a person, and decided by one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from accounts.ledger.services import transfer
from accounts.models import User
from gaas.lib.errors import Conflict, DomainError, NotAllowed
from gaas.lib.retry import retried
from payments.choices import ReviewOutcome, ReviewStatus
from payments.models import Payment, Review
from payments.services.credit import clearing, locked, suspense, tell_paid, top_up
from payments.services.two_people import gains


def ask(
    *,
    key: str,
    provider: str,
    code: str,
    detail: str,
    facts: dict[str, Any],
    payment: Payment | None,
    in_suspense: int = 0,
) -> Review:
    """Put something before a person, once for a key; `in_suspense` the caller moved there with it."""
    about = {"provider": provider, "code": code, "detail": detail, "facts": facts, "payment": payment}
    review, _ = Review.objects.get_or_create(key=key, defaults={**about, "in_suspense": in_suspense})
    return review


@retried
def resolve(*, review: Review, outcome: str, resolution: str, by: User, now: datetime) -> Review:
    """Decide, and move what waits on `suspense` with the decision.

    `credited`: into the account of the payment. `returned`: the provider has sent it back. `kept`: nothing waits.
    Raises NotAllowed, Conflict if it was decided before, DomainError where the outcome does not fit what waits.
    """
    if not by.has_perm("payments.change_review"):
        raise NotAllowed("Deciding on reviews takes the permission for it.")
    if not resolution.strip():
        raise DomainError("Say what was found and done.", code="required", attr="resolution")
    payment = None if review.payment_id is None else locked(review.payment_id)
    review = Review.objects.select_for_update(no_key=True, of=("self",)).get(pk=review.pk)
    if review.status != ReviewStatus.OPEN:
        raise Conflict(f"{review.resolved_by} resolved this at {review.resolved_at:%Y-%m-%d %H:%M:%S} UTC.")
    if (outcome == ReviewOutcome.KEPT) == bool(review.in_suspense):
        raise DomainError(
            "Money waits: say whether it is credited or was sent back."
            if review.in_suspense
            else "No money waits here: there is nothing to credit or to send back.",
            code="invalid",
            attr="outcome",
        )
    if outcome == ReviewOutcome.CREDITED:
        _credit(review, payment, by, now)
    elif outcome == ReviewOutcome.RETURNED:
        _return(review, payment, resolution, by, now)
    review.payment = payment
    review.resolve(outcome=outcome, resolution=resolution.strip(), by=by, now=now)
    return review


def _credit(review: Review, payment: Payment | None, by: User, now: datetime) -> None:
    if payment is None or payment.is_paid:
        raise DomainError("No payment waits for this money, so it cannot be credited here.", attr="outcome")
    if gains(payment.account, by):
        raise NotAllowed("Somebody who cannot spend this money has to decide about it.")
    payment.succeed(received=review.in_suspense, by=by, now=now, reason=f"After review: {review.code}.")
    top_up(payment=payment, source=suspense(), amount=review.in_suspense, actor=by)
    tell_paid(payment, amount=review.in_suspense, now=now)


def _return(review: Review, payment: Payment | None, resolution: str, by: User, now: datetime) -> None:
    transfer(
        key=f"review:{review.pk}:returned",
        kind="returned",
        debit=suspense(),
        credit=clearing(review.provider),
        amount=review.in_suspense,
        actor=str(by.pk),
        ref=str(review.payment_id or ""),
    )
    if payment is not None and payment.is_open:
        payment.fail(code="returned", detail=f"Sent back after review: {resolution.strip()}", by=by, now=now)
