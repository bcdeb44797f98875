from __future__ import annotations

from typing import ClassVar

from django.db import models

from gaas.lib.events import Event


class PayoutEvent(Event):
    """Record one change in a payout's life."""

    OF: ClassVar = "payout"

    payout = models.ForeignKey("payments.Payout", on_delete=models.PROTECT, related_name="events", editable=False)

    class Meta(Event.Meta):
        abstract = False
        verbose_name = "payout event"
        indexes = [models.Index(fields=["payout", "id"], name="payout_event_by_payout")]
