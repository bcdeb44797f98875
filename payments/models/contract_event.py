from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from gaas.lib.events import Event
from gaas.lib.rows import Row
from payments.choices import CatchUp


class ContractEvent(Event):
    """Record one change in a contract's life."""

    OF: ClassVar = "contract"

    contract = models.ForeignKey("payments.Contract", on_delete=models.PROTECT, related_name="events", editable=False)

    class Meta(Event.Meta):
        abstract = False
        verbose_name = "contract event"
        indexes = [models.Index(fields=["contract", "id"], name="contract_event_by_contract")]


class ContractPause(Row):
    """Cover the periods due after one moment and before another; while `until_at` is empty it lasts."""

    contract = models.ForeignKey("payments.Contract", on_delete=models.PROTECT, related_name="pauses", editable=False)
    from_at = models.DateTimeField(editable=False)
    until_at = models.DateTimeField(null=True, blank=True, editable=False)
    catch_up = models.CharField(max_length=6, choices=CatchUp, editable=False)

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(
                name="contract_pause_one_at_a_time", fields=["contract"], condition=Q(until_at__isnull=True)
            ),
            models.CheckConstraint(
                name="contract_pause_in_order", condition=Q(until_at__isnull=True) | Q(until_at__gte=F("from_at"))
            ),
        ]

    def __str__(self) -> str:
        return f"from {self.from_at:%Y-%m-%d %H:%M}"
