"""Stripe: Checkout pages and PaymentIntents, refunds, disputes, by the official library.

What Stripe says in an event is only a hint: every effect comes from the object as it stands when we fetch it.
Amounts are whole cents there and micro-dollars here. Objects are found again by metadata of ours, `payment` and
`refund`, so an answer that was lost costs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import stripe

from gaas.lib.errors import DomainError
from payments.choices import RefundStatus
from payments.models import Payment, Payout, Refund
from payments.providers import Begun, Listed, ProviderRefused, ProviderUnreachable, Seen

CENT = 10_000  # micro-dollars
TIMEOUT_SECONDS = 20
TOLERANCE_SECONDS = 300
# Stripe keeps an idempotency key for at least 24 hours; an hour less, for clocks and for calls under way.
KEY_LIFE = timedelta(hours=23)
CHECKOUT, INTENT = "checkout", "intent"
ACCOUNT = "acct_"
_STATES = {"succeeded": "succeeded", "failed": "failed", "canceled": "cancelled"}


class NotWholeCents(DomainError):
    """Refuse an amount that Stripe cannot take."""

    code = "not_whole_cents"


class BadSignature(DomainError):
    """Refuse an event that Stripe did not sign, or signed too long ago."""

    code = "bad_signature"


class WrongMode(DomainError):
    """Refuse an event of test money on a platform that takes real money, and the other way round."""

    code = "wrong_mode"


class StripeProvider:
    """Talk to Stripe, or to what stands at `base` (tests)."""

    methods: tuple[str, ...] = (CHECKOUT, INTENT)

    def __init__(
        self, *, key: str, webhook_secrets: list[str], return_url: str, publishable_key: str = "", base: str = ""
    ) -> None:
        self.is_live = key.split("_")[1:2] == ["live"]
        self._platform: str | None = None
        # Enough to tell one key from another, and nothing to guess it by.
        self._key_name = f"key {sha256(key.encode()).hexdigest()[:16]}"
        self.webhook_secrets = webhook_secrets
        self.return_url, self.publishable_key = return_url, publishable_key
        self.api = stripe.StripeClient(
            key,
            base_addresses={"api": base} if base else None,
            http_client=stripe.RequestsClient(timeout=TIMEOUT_SECONDS),
            # The sweep asks again; here a web thread or a worker would wait.
            max_network_retries=0,
        ).v1

    def check(self, amount: int) -> None:
        """Raise NotWholeCents unless Stripe can take the amount."""
        if amount % CENT:
            raise NotWholeCents("Stripe takes whole cents only: give at most two decimals.", attr="amount_usd")

    def begin(self, payment: Payment) -> Begun:
        cents, ours = payment.amount // CENT, {"payment": str(payment.pk)}
        options: Any = {"idempotency_key": payment.provider_key}
        if payment.method == INTENT:
            intent = _call(
                self.api.payment_intents.create,
                {
                    "amount": cents,
                    "currency": "usd",
                    "metadata": ours,
                    "automatic_payment_methods": {"enabled": True},
                },
                options,
            )
            told = {"client_secret": intent.client_secret, "publishable_key": self.publishable_key}
            return Begun(intent.id, told)
        back = f"{self.return_url}{payment.account_id}/wallet/payments/{payment.pk}/"
        line = {
            "quantity": 1,
            "price_data": {"currency": "usd", "unit_amount": cents, "product_data": {"name": "GaaS wallet"}},
        }
        session = _call(
            self.api.checkout.sessions.create,
            {
                "mode": "payment",
                "line_items": [line],
                "client_reference_id": str(payment.pk),
                "metadata": ours,
                "payment_intent_data": {"metadata": ours},
                "success_url": back,
                "cancel_url": back,
            },
            options,
        )
        return Begun(session.id, {"go_to": session.url})

    def look(self, payment: Payment) -> Seen:
        if not payment.provider_id.startswith("cs_"):
            return _of_intent(_call(self.api.payment_intents.retrieve, payment.provider_id), payment)
        session = _call(self.api.checkout.sessions.retrieve, payment.provider_id, {"expand": ["payment_intent"]})
        if session.payment_intent is not None and session.payment_status == "paid":
            return _of_intent(session.payment_intent, payment)
        if session.status == "expired":
            return Seen("cancelled", detail="The Checkout page has expired.")
        return Seen("pending")

    def give_up(self, payment: Payment) -> Seen:
        # Refused where it is too late: it was paid or ended before. How, the last line tells.
        with suppress(ProviderRefused):
            if payment.provider_id.startswith("cs_"):
                _call(self.api.checkout.sessions.expire, payment.provider_id)
            else:
                _call(self.api.payment_intents.cancel, payment.provider_id)
        return self.look(payment)

    def refund(self, refund: Refund) -> tuple[str, Seen]:
        found = self._refund_of(refund)
        if found is None:
            found = _call(
                self.api.refunds.create,
                {
                    "payment_intent": self._intent_of(refund.payment),
                    "amount": refund.amount // CENT,
                    "metadata": {"refund": str(refund.pk)},
                },
                {"idempotency_key": f"gaas-refund-{refund.pk}"},
            )
        return found.id, seen_of_refund(found)

    def _refund_of(self, refund: Refund) -> Any:
        """Find a refund that an earlier call made: by its id, or by our mark where its answer was lost.

        Stripe forgets an idempotency key after a day, so the key alone would not do.
        """
        if refund.provider_id:
            return _call(self.api.refunds.retrieve, refund.provider_id)
        if refund.status == RefundStatus.REQUESTED:
            return None
        return next((row for row in self.refunds_of(refund.payment) if mark_of(row, "refund") == str(refund.pk)), None)

    def refunds_of(self, payment: Payment) -> list[Any]:
        """List all refunds of a payment, ours and those that somebody made in Stripe's dashboard."""
        listed = _call(self.api.refunds.list, {"payment_intent": self._intent_of(payment), "limit": 100})
        return list(listed.auto_paging_iter())

    def platform(self) -> str:
        """Say which account the key is of, and which money; a restricted key that may not ask is named itself."""
        if self._platform is None:
            try:
                found = self.api.accounts.retrieve_current().id
            except (stripe.PermissionError, stripe.InvalidRequestError):
                found = self._key_name
            except stripe.StripeError as trouble:
                raise ProviderUnreachable(str(trouble)) from trouble
            self._platform = f"{found} {'live' if self.is_live else 'test'}"
        return self._platform

    def is_elsewhere(self, platform: str) -> bool:
        """Tell whether what a platform did is another account's, where both are known: another key says nothing."""
        known = platform.startswith(ACCOUNT) and self.platform().startswith(ACCOUNT)
        return known and platform != self.platform()

    def pay_out(self, payout: Payout, *, now: datetime) -> tuple[str, Seen]:
        """Transfer it to the connected account. While Stripe keeps the key it tells a call made again by it; after
        that our transfers are looked through first."""
        found = None
        if now - (payout.sent_at or now) >= KEY_LIFE:
            found = self._transfer_of(payout)
        if found is None:
            found = _call(
                self.api.transfers.create,
                {
                    "amount": payout.net // CENT,
                    "currency": "usd",
                    "destination": payout.destination.detail,
                    "transfer_group": payout.provider_key,
                    "metadata": {"payout": str(payout.pk)},
                },
                {"idempotency_key": payout.provider_key},
            )
        return found.id, seen_of_transfer(found, payout)

    def _transfer_of(self, payout: Payout) -> Any:
        try:
            listed = _call(self.api.transfers.list, {"transfer_group": payout.provider_key, "limit": 100})
        except ProviderRefused as refused:
            # That nobody may look says nothing about whether it was sent.
            raise ProviderUnreachable(refused.detail) from refused
        return next((row for row in listed.auto_paging_iter() if mark_of(row, "payout") == str(payout.pk)), None)

    def look_payout(self, payout: Payout) -> Seen:
        if payout.provider_id:
            return seen_of_transfer(_call(self.api.transfers.retrieve, payout.provider_id), payout)
        # A person said that it was sent: our mark finds it.
        found = self._transfer_of(payout)
        return seen_of_transfer(found, payout) if found is not None else Seen("pending")

    def listed(self, since: datetime) -> Iterable[Listed]:
        """List what succeeded since a moment: intents, refunds, transfers to owners."""
        asked = {"created": {"gte": int(since.timestamp())}, "limit": 100}
        for what, api in (
            ("payment", self.api.payment_intents),
            ("refund", self.api.refunds),
            ("payout", self.api.transfers),
        ):
            # Page by page, each of which may fail as a call of its own.
            for row in _call(_all_of, api, asked):
                if getattr(row, "status", "succeeded") != "succeeded":
                    continue
                cents = row.amount_received if what == "payment" else row.amount
                at = datetime.fromtimestamp(row.created, UTC)
                yield Listed(what, row.id, cents * CENT, at, mark_of(row, what))

    def dispute(self, dispute_id: str) -> Any:
        """Fetch a dispute as it stands."""
        return _call(self.api.disputes.retrieve, dispute_id)

    def payment_of_intent(self, intent_id: str) -> str:
        """Give the id of our payment that an intent is for; "" for one that is not ours."""
        return mark_of(_call(self.api.payment_intents.retrieve, intent_id), "payment")

    def _intent_of(self, payment: Payment) -> str:
        if payment.provider_id.startswith("pi_"):
            return payment.provider_id
        session = _call(self.api.checkout.sessions.retrieve, payment.provider_id)
        return str(session.payment_intent)

    def event(self, *, body: bytes, signature: str) -> dict[str, Any]:
        """Give the event in a webhook's body. Raises BadSignature, and WrongMode for test money on a live platform.

        Any of the secrets will do, so that one can be replaced by another without losing an event.
        """
        for secret in self.webhook_secrets:
            try:
                stripe.WebhookSignature.verify_header(
                    body.decode("utf-8"), signature, secret, tolerance=TOLERANCE_SECONDS
                )
                break
            except (stripe.SignatureVerificationError, UnicodeDecodeError):
                continue
        else:
            raise BadSignature("This event is not signed with a secret of ours, or was signed too long ago.")
        try:
            event = json.loads(body)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            raise BadSignature("This is no event of Stripe's.")
        if bool(event.get("livemode")) != self.is_live:
            raise WrongMode("This event is about test money on live keys, or about real money on test keys.")
        return event


def _all_of(api: Any, asked: dict[str, Any]) -> list[Any]:
    return list(api.list(asked).auto_paging_iter())


def mark_of(thing: Any, name: str) -> str:
    """Give what we wrote on an object of Stripe's, or ""; its metadata is like a dict, and none."""
    metadata = thing.metadata
    return str(metadata[name]) if metadata and name in metadata else ""


def seen_of_refund(found: Any) -> Seen:
    """Say how a refund stands there."""
    detail = f"Stripe says: {found.failure_reason}." if getattr(found, "failure_reason", None) else ""
    return Seen(_STATES.get(found.status, "pending"), found.amount * CENT, found.currency.upper(), detail=detail)


def seen_of_transfer(found: Any, payout: Payout) -> Seen:
    """Say how a transfer stands there: made at once or not at all, and perhaps taken back since."""
    facts = {"cents": found.amount, "currency": found.currency, "destination": found.destination}
    facts["returned"] = found.amount_reversed * CENT
    is_ours = (found.amount * CENT, found.currency, found.destination) == (
        payout.net,
        "usd",
        payout.destination.detail,
    )
    return Seen("succeeded" if is_ours else "pending", found.amount * CENT, found.currency.upper(), facts=facts)


def _of_intent(intent: Any, payment: Payment) -> Seen:
    facts = {"intent": intent.id, "status": intent.status, "amount_received": intent.amount_received}
    facts |= {"currency": intent.currency, "payment": mark_of(intent, "payment")}
    if intent.status == "succeeded":
        is_ours = mark_of(intent, "payment") == str(payment.pk)
        return Seen(
            "succeeded",
            intent.amount_received * CENT,
            intent.currency.upper(),
            failure="" if is_ours else "metadata_mismatch",
            detail="" if is_ours else "What came in is marked as another payment's.",
            facts=facts,
        )
    if intent.status == "canceled":
        return Seen("cancelled", detail="Cancelled at Stripe.", facts=facts)
    return Seen("pending", facts=facts)


def _call(verb: Any, *arguments: Any) -> Any:
    """Call Stripe; a final no is ProviderRefused, all that may be otherwise next time is ProviderUnreachable."""
    try:
        return verb(*arguments)
    except stripe.CardError as declined:
        raise ProviderRefused(declined.code or "declined", declined.user_message or str(declined)) from declined
    except stripe.InvalidRequestError as refused:
        raise ProviderRefused(refused.code or "refused_by_stripe", refused.user_message or str(refused)) from refused
    except stripe.StripeError as trouble:
        # Not reached, too many calls, a fault at Stripe, or keys that are wrong: nothing is decided.
        raise ProviderUnreachable(str(trouble)) from trouble
