from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from gaas.audit.services import record
from gaas.lib.amounts import show_micro
from gaas.lib.lifecycle import Lifecycle
from gaas.lib.rows import Row
from payments.choices import RefundStatus
from payments.models.event import PaymentEvent
from payments.querysets import RefundQuerySet

R = RefundStatus


class Refund(Row, Lifecycle):
    """Follow money of a payment back to where it came from. `amount` is in micro-dollars.

    While it is under way the amount is held in the wallet (`hold`). A refund that somebody made at the provider
    has no hold (`is_foreign`): the money is gone already, so the wallet pays and what it lacks becomes debt.
    """

    TRANSITIONS: ClassVar[dict[str, set[str]]] = {
        R.REQUESTED: {R.SENDING, R.SUCCEEDED, R.CANCELLED},
        R.SENDING: {R.UNKNOWN, R.SUCCEEDED, R.FAILED},
        R.UNKNOWN: {R.SENDING, R.SUCCEEDED, R.FAILED},
        # The provider took it, and the payer's bank sent it back days later.
        R.SUCCEEDED: {R.FAILED},
        R.FAILED: set(),
        R.CANCELLED: set(),
    }

    payment = models.ForeignKey("payments.Payment", on_delete=models.PROTECT, related_name="refunds")
    amount = models.BigIntegerField(help_text="Micro-dollars.")
    reason = models.CharField(max_length=2000)
    status = models.CharField(max_length=10, choices=RefundStatus, default=R.REQUESTED, editable=False)
    is_foreign = models.BooleanField(default=False, editable=False, help_text="Made at the provider, not here.")
    hold = models.OneToOneField("ledger.Hold", on_delete=models.PROTECT, null=True, editable=False, related_name="+")
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", editable=False
    )
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", editable=False
    )
    provider_id = models.CharField(max_length=200, blank=True, editable=False)
    # Refunds by hand: how the money went ("bank transfer", a chain) and what the statement calls it.
    method = models.CharField(max_length=40, blank=True, editable=False)
    reference = models.CharField(max_length=140, blank=True, editable=False)
    failure_detail = models.TextField(blank=True, editable=False)
    send_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="When to call the provider.")
    sent_at = models.DateTimeField(null=True, blank=True, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = RefundQuerySet.as_manager()

    class Meta(Row.Meta):
        constraints = [
            models.CheckConstraint(name="refund_of_some", condition=Q(amount__gt=0)),
            models.CheckConstraint(
                name="refund_holds_unless_foreign",
                condition=Q(is_foreign=True, hold__isnull=True) | Q(is_foreign=False, hold__isnull=False),
            ),
            models.UniqueConstraint(
                name="refund_provider_id_once", fields=["payment", "provider_id"], condition=~Q(provider_id="")
            ),
            models.UniqueConstraint(
                name="refund_manual_reference_once", fields=["method", "reference"], condition=~Q(method="")
            ),
        ]
        indexes = [
            models.Index(fields=["payment", "-id"], name="refund_by_payment"),
            models.Index(fields=["status", "-id"], name="refund_by_status"),
            models.Index(fields=["send_at"], name="refund_to_send", condition=Q(send_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"refund of {show_micro(self.amount)} USD"

    @property
    def account_id(self) -> Any:
        return self.payment.account_id

    def send(self, *, by: Any, now: datetime, again_at: datetime) -> bool:
        """Commit to calling the provider before the call; `again_at` is when to look if no answer is stored."""
        return self._move_to(R.SENDING, by=by, now=now, sent_at=self.sent_at or now, send_at=again_at)

    def lose_sight(self, *, detail: str, now: datetime, again_at: datetime) -> bool:
        """Note that the provider did not answer: it may have been made, so nothing is given back yet."""
        return self._move_to(R.UNKNOWN, by=None, now=now, reason=detail, failure_detail=detail, send_at=again_at)

    def succeed(self, *, by: Any, now: datetime, **fields: Any) -> bool:
        return self._move_to(R.SUCCEEDED, by=by, now=now, ended_at=now, send_at=None, failure_detail="", **fields)

    def fail(self, *, detail: str, by: Any, now: datetime) -> bool:
        return self._move_to(R.FAILED, by=by, now=now, reason=detail, ended_at=now, send_at=None, failure_detail=detail)

    def cancel(self, *, by: Any, now: datetime, reason: str) -> bool:
        return self._move_to(R.CANCELLED, by=by, now=now, reason=reason, ended_at=now, send_at=None)

    def _record_move(self, old: str, new: str, *, by: object | None, reason: str, now: datetime) -> None:
        PaymentEvent.note(self.payment_id, subject=str(self), old=old, new=new, by=by, reason=reason, now=now)
        record(
            action=f"refund.{new.lower()}",
            obj=self,
            by=by,
            before={"status": old},
            after={"status": new, "amount": self.amount, "reference": self.reference or self.provider_id},
            reason=reason,
            now=now,
        )
