from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from gaas.lib.rows import Row
from payments.addresses import masked
from payments.choices import Provider
from payments.querysets import PayoutDestinationQuerySet


class PayoutDestination(Row):
    """Name where an account's earnings may be sent. A row is never changed: a change is a new row, and the old retires.

    `detail` is a connected account at Stripe, an address on a chain, or words for whoever sends it by hand.
    """

    account = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="payout_destinations")
    kind = models.CharField(max_length=10, choices=Provider)
    detail = models.CharField(max_length=140)
    label = models.CharField(max_length=60, blank=True, help_text="What its owner calls it.")
    usable_at = models.DateTimeField(help_text="Payouts there can be asked for from then on.")
    replaces = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="replaced_by", editable=False
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", editable=False)
    retired_at = models.DateTimeField(null=True, blank=True, editable=False)
    retired_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", editable=False
    )

    objects = PayoutDestinationQuerySet.as_manager()

    class Meta(Row.Meta):
        verbose_name = "payout destination"
        constraints = [
            models.UniqueConstraint(
                name="payout_destination_once", fields=["account", "kind", "detail"], condition=Q(retired_at=None)
            ),
            models.CheckConstraint(
                name="payout_destination_retired_by_somebody",
                condition=Q(retired_at=None, retired_by=None) | Q(retired_at__isnull=False, retired_by__isnull=False),
            ),
        ]
        indexes = [models.Index(fields=["account", "-id"], name="payout_destination_by_account")]

    def __str__(self) -> str:
        named = f" ({self.label})" if self.label else ""
        return f"{self.get_kind_display()} {self.shown}{named}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store a new row; what a payout was approved for must not become another place afterwards."""
        if not self._state.adding:
            raise TypeError("a payout destination is not changed: add another, which replaces it")
        super().save(*args, **kwargs)

    @property
    def shown(self) -> str:
        """Give enough of it to tell it from another."""
        return masked(self.kind, self.detail)

    def is_usable(self, *, now: datetime) -> bool:
        return self.retired_at is None and self.usable_at <= now

    def retire(self, *, by: Any, now: datetime) -> bool:
        """Take it out of use; return whether this call did."""
        rows = type(self).objects.filter(pk=self.pk, retired_at=None)
        if not rows.update(retired_at=now, retired_by=by, updated_at=now):
            return False
        self.retired_at, self.retired_by = now, by
        return True
