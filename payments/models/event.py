from __future__ import annotations

from typing import ClassVar

from django.db import models

from gaas.lib.events import Event


class PaymentEvent(Event):
    """Record one change in a payment's life, or in that of a refund or a dispute of it (`subject`)."""

    OF: ClassVar = "payment"

    payment = models.ForeignKey("payments.Payment", on_delete=models.PROTECT, related_name="events", editable=False)
    subject = models.CharField(max_length=60, blank=True, editable=False, help_text="Empty for the payment itself.")

    class Meta(Event.Meta):
        abstract = False
        verbose_name = "payment event"
        indexes = [models.Index(fields=["payment", "id"], name="payment_event_by_payment")]

    def __str__(self) -> str:
        return f"{self.subject or 'payment'}: {super().__str__()}"
