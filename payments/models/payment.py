from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from gaas.audit.services import record
from gaas.lib.amounts import show_micro
from gaas.lib.lifecycle import Lifecycle
from gaas.lib.rows import Row
from payments.choices import PAYMENT_OPEN, PAYMENT_PAID, PaymentStatus, Provider
from payments.models.event import PaymentEvent
from payments.querysets import PaymentQuerySet

P = PaymentStatus


class Payment(Row, Lifecycle):
    """Follow money from outside into an account's wallet. Amounts are micro-dollars.

    `amount` was asked for; `received` came in and was credited once, by the transfer `payment:<id>:topup`.
    `refunded`, `refunding` and `disputed` went out again, are on their way out, or are contested: together never
    more than came in. `provider_id` is the provider's name for it; `provider_key` is ours, sent with every call
    about it, so that a call sent twice makes one payment there.
    """

    TRANSITIONS: ClassVar[dict[str, set[str]]] = {
        P.CREATED: {P.PENDING, P.SUCCEEDED, P.FAILED, P.CANCELLED, P.EXPIRED},
        P.PENDING: {P.SUCCEEDED, P.FAILED, P.CANCELLED, P.EXPIRED},
        P.FAILED: {P.SUCCEEDED},
        P.CANCELLED: {P.SUCCEEDED},
        P.EXPIRED: {P.SUCCEEDED},
        P.SUCCEEDED: {P.PARTIALLY_REFUNDED, P.REFUNDED, P.DISPUTED},
        # A refund that the provider accepted may fail days later: the money is back.
        P.PARTIALLY_REFUNDED: {P.SUCCEEDED, P.REFUNDED, P.DISPUTED},
        P.REFUNDED: {P.SUCCEEDED, P.PARTIALLY_REFUNDED, P.DISPUTED},
        P.DISPUTED: {P.DISPUTE_WON, P.DISPUTE_LOST},
        P.DISPUTE_WON: {P.PARTIALLY_REFUNDED, P.REFUNDED, P.DISPUTED},
        P.DISPUTE_LOST: {P.DISPUTE_WON, P.DISPUTED},
    }

    account = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="payments")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    provider = models.CharField(max_length=10, choices=Provider)
    status = models.CharField(max_length=20, choices=PaymentStatus, default=P.CREATED, editable=False)
    amount = models.BigIntegerField(help_text="Micro-dollars asked for.")
    received = models.BigIntegerField(default=0, editable=False)
    refunded = models.BigIntegerField(default=0, editable=False)
    refunding = models.BigIntegerField(default=0, editable=False)
    disputed = models.BigIntegerField(default=0, editable=False)

    provider_id = models.CharField(max_length=200, blank=True, editable=False)
    provider_key = models.CharField(max_length=80, unique=True, editable=False)
    # Manual payments: how the money came ("bank transfer") and what the statement calls it.
    method = models.CharField(max_length=40, blank=True)
    reference = models.CharField(max_length=140, blank=True)
    drafted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", editable=False
    )
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", editable=False
    )
    # What the payer is told to do next, as the provider gave it: an address, an amount, a page to go to.
    instructions = models.JSONField(default=dict, blank=True, editable=False)
    failure_code = models.CharField(max_length=64, blank=True, editable=False)
    failure_detail = models.TextField(blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    look_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="When to ask the provider again.")
    paid_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = PaymentQuerySet.as_manager()

    class Meta(Row.Meta):
        verbose_name = "payment"
        permissions = [("refund_payment", "Can refund payments")]
        constraints = [
            models.CheckConstraint(name="payment_asks_for_some", condition=Q(amount__gt=0)),
            models.CheckConstraint(
                name="payment_amounts_not_negative",
                condition=Q(received__gte=0, refunded__gte=0, refunding__gte=0, disputed__gte=0),
            ),
            models.CheckConstraint(
                name="payment_gives_back_at_most_what_came",
                condition=Q(received__gte=F("refunded") + F("refunding") + F("disputed")),
            ),
            models.CheckConstraint(
                name="payment_paid_iff_received",
                condition=Q(status__in=sorted(PAYMENT_PAID), received__gt=0, paid_at__isnull=False)
                | (~Q(status__in=sorted(PAYMENT_PAID)) & Q(received=0, paid_at__isnull=True)),
            ),
            models.UniqueConstraint(
                name="payment_provider_id_once", fields=["provider", "provider_id"], condition=~Q(provider_id="")
            ),
            models.UniqueConstraint(
                name="payment_manual_reference_once", fields=["method", "reference"], condition=~Q(reference="")
            ),
        ]
        indexes = [
            models.Index(fields=["account", "-id"], name="payment_by_account"),
            models.Index(fields=["status", "-id"], name="payment_by_status"),
            models.Index(fields=["provider", "-id"], name="payment_by_provider"),
            models.Index(fields=["expires_at"], name="payment_expiring", condition=Q(status__in=sorted(PAYMENT_OPEN))),
            models.Index(fields=["look_at"], name="payment_to_look_at", condition=Q(look_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{show_micro(self.amount)} USD by {self.get_provider_display()} for {self.account}"

    @property
    def is_open(self) -> bool:
        return self.status in PAYMENT_OPEN

    @property
    def is_paid(self) -> bool:
        return self.status in PAYMENT_PAID

    @property
    def is_draft(self) -> bool:
        """Tell whether somebody recorded that it came in, and a second person has to say so too."""
        return (
            self.provider == Provider.MANUAL and not self.is_paid and bool(self.reference) and bool(self.drafted_by_id)
        )

    @property
    def goes_back_by_hand(self) -> bool:
        """Tell whether a person has to send a refund: nobody else can, or nobody is trusted with a key."""
        return self.provider != Provider.STRIPE

    @property
    def refundable(self) -> int:
        """Give what could still be sent back, by what came in; the wallet may have less."""
        return self.received - self.refunded - self.refunding - self.disputed

    def wait_for(self, *, by: Any, now: datetime, reason: str = "", **fields: Any) -> bool:
        """Note that somebody else has to act: the payer, the provider, a chain, a second person."""
        return self._move_to(P.PENDING, by=by, now=now, reason=reason, **fields)

    def succeed(self, *, received: int, by: Any, now: datetime, reason: str = "", **fields: Any) -> bool:
        """Note what came in; `services.credit` moves the money in the same transaction."""
        return self._move_to(
            P.SUCCEEDED,
            by=by,
            now=now,
            reason=reason,
            received=received,
            paid_at=now,
            look_at=None,
            failure_code="",
            failure_detail="",
            **fields,
        )

    def fail(self, *, code: str, detail: str, by: Any, now: datetime) -> bool:
        """Note that nothing will come, and why."""
        return self._move_to(
            P.FAILED, by=by, now=now, reason=detail, failure_code=code, failure_detail=detail, look_at=None
        )

    def cancel(self, *, by: Any, now: datetime, reason: str = "") -> bool:
        """Give up what nobody paid; its provider is to be told at once, where it knows of it."""
        return self._move_to(P.CANCELLED, by=by, now=now, reason=reason, look_at=self._give_up_at(now))

    def expire(self, *, now: datetime) -> bool:
        """Give up what nobody paid in time; its provider is to be told as by a cancel."""
        return self._move_to(P.EXPIRED, by=None, now=now, reason="Nobody paid in time.", look_at=self._give_up_at(now))

    def _give_up_at(self, now: datetime) -> datetime | None:
        # On a chain nobody can be told: whoever has the address may still pay.
        is_known = bool(self.provider_id) if self.provider == Provider.STRIPE else self.provider == Provider.ONCHAIN
        return now if is_known else None

    def stand_as(self, new: str, *, by: Any, now: datetime, reason: str = "") -> None:
        """Follow a refund or a dispute; nothing to do where the payment stands so already."""
        if self.status != new:
            self._move_to(new, by=by, now=now, reason=reason)

    @property
    def standing(self) -> str:
        """Say by its amounts where a payment without a dispute under way stands."""
        if not self.refunded:
            return P.SUCCEEDED
        return P.REFUNDED if self.refunded >= self.received - self.disputed else P.PARTIALLY_REFUNDED

    def _record_move(self, old: str, new: str, *, by: object | None, reason: str, now: datetime) -> None:
        PaymentEvent.note(self.pk, old=old, new=new, by=by, reason=reason, now=now)
        record(
            action=f"payment.{new.lower()}",
            obj=self,
            by=by,
            before={"status": old},
            after={
                "status": new,
                "received": self.received,
                "refunded": self.refunded,
                "disputed": self.disputed,
                "reference": self.reference or self.provider_id,
            },
            reason=reason,
            now=now,
        )
