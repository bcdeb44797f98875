from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from gaas.lib.rows import Row


class PaymentEvent(Row):
    """Record one change in a payment's life, or in that of a refund or a dispute of it (`subject`)."""

    payment = models.ForeignKey("payments.Payment", on_delete=models.PROTECT, related_name="events", editable=False)
    subject = models.CharField(max_length=60, blank=True, editable=False, help_text="Empty for the payment itself.")
    from_status = models.CharField(max_length=20, blank=True, editable=False)
    to_status = models.CharField(max_length=20, editable=False)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", editable=False
    )
    by_label = models.CharField(max_length=254, editable=False)
    reason = models.TextField(blank=True, editable=False)
    at = models.DateTimeField(editable=False)

    class Meta(Row.Meta):
        verbose_name = "payment event"
        indexes = [models.Index(fields=["payment", "id"], name="payment_event_by_payment")]

    def __str__(self) -> str:
        return f"{self.subject or 'payment'}: {self.from_status or 'new'} → {self.to_status} by {self.by_label}"

    @classmethod
    def note(
        cls, payment_id: Any, *, subject: str = "", old: str = "", new: str, by: Any, reason: str = "", now: Any
    ) -> PaymentEvent:
        """Store one step; `by` is a user, or None for the platform."""
        return cls.objects.create(
            payment_id=payment_id,
            subject=subject,
            from_status=old,
            to_status=new,
            by=by,
            by_label="platform" if by is None else str(by.email),
            reason=reason,
            at=now,
        )
