from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from gaas.audit.services import record
from gaas.lib.lifecycle import Lifecycle
from gaas.lib.rows import Row
from payments.choices import Provider, ReviewOutcome, ReviewStatus
from payments.querysets import ReviewQuerySet


class Review(Row, Lifecycle):
    """Put before a person what no rule may decide: money that does not fit, an event about nothing we know.

    `in_suspense` micro-dollars wait on the platform's suspense balance until somebody says where they belong.
    UNIQUE(key) makes a thing that is reported again the same row.
    """

    TRANSITIONS: ClassVar[dict[str, set[str]]] = {
        ReviewStatus.OPEN: {ReviewStatus.RESOLVED},
        ReviewStatus.RESOLVED: set(),
    }

    key = models.CharField(max_length=200, unique=True)
    payment = models.ForeignKey(
        "payments.Payment", on_delete=models.PROTECT, null=True, blank=True, related_name="reviews"
    )
    provider = models.CharField(max_length=10, choices=Provider)
    code = models.CharField(max_length=64)
    detail = models.TextField(help_text="What does not fit, in a sentence.")
    facts = models.JSONField(default=dict, blank=True)
    in_suspense = models.BigIntegerField(default=0, help_text="Micro-dollars.")
    status = models.CharField(max_length=8, choices=ReviewStatus, default=ReviewStatus.OPEN, editable=False)
    outcome = models.CharField(max_length=10, choices=ReviewOutcome, blank=True, editable=False)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", editable=False
    )
    resolved_at = models.DateTimeField(null=True, blank=True, editable=False)
    resolution = models.CharField(max_length=2000, blank=True, editable=False)

    objects = ReviewQuerySet.as_manager()

    class Meta(Row.Meta):
        constraints = [
            models.CheckConstraint(name="review_suspense_not_negative", condition=Q(in_suspense__gte=0)),
            models.CheckConstraint(
                name="review_resolved_has_an_outcome",
                condition=Q(status=ReviewStatus.OPEN, outcome="", resolved_at__isnull=True)
                | (Q(status=ReviewStatus.RESOLVED, resolved_at__isnull=False) & ~Q(outcome="")),
            ),
        ]
        indexes = [models.Index(fields=["status", "-id"], name="review_by_status")]

    def __str__(self) -> str:
        return f"{self.code} at {self.get_provider_display()}"

    @property
    def account_id(self) -> Any:
        return self.payment.account_id if self.payment is not None else None

    def resolve(self, *, outcome: str, resolution: str, by: Any, now: datetime) -> bool:
        """Note what was done; `services.resolve` moves the money in the same transaction."""
        return self._move_to(
            ReviewStatus.RESOLVED,
            by=by,
            now=now,
            reason=resolution,
            outcome=outcome,
            resolution=resolution,
            resolved_by=by,
            resolved_at=now,
        )

    def _record_move(self, old: str, new: str, *, by: object | None, reason: str, now: datetime) -> None:
        record(
            action="review.resolve",
            obj=self,
            by=by,
            before={"status": old},
            after={"status": new, "outcome": self.outcome, "in_suspense": self.in_suspense},
            reason=reason,
            now=now,
        )
