from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django.db import models

from accounts.choices import QuotaRequestStatus as Status
from accounts.querysets import QuotaRequestQuerySet
from gaas.audit.services import record
from gaas.lib.amounts import show_hours
from gaas.lib.errors import Conflict, IllegalTransition
from gaas.lib.lifecycle import Lifecycle
from gaas.lib.rows import Row


class QuotaRequest(Row, Lifecycle):
    """Ask staff for more hours on an account."""

    TRANSITIONS: ClassVar[dict[str, set[str]]] = {
        Status.PENDING: {Status.APPROVED, Status.REJECTED},
        Status.APPROVED: set(),
        Status.REJECTED: set(),
    }

    account = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="quota_requests")
    requested_by = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="quota_requests")
    gpu_ms = models.BigIntegerField("GPU-milliseconds asked for")
    granted_ms = models.BigIntegerField("GPU-milliseconds granted", null=True, blank=True, editable=False)
    reason = models.CharField(max_length=2000)
    status = models.CharField(max_length=8, choices=Status, default=Status.PENDING, editable=False)
    decided_by = models.ForeignKey(
        "accounts.User", on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True, editable=False)
    decision_reason = models.CharField(max_length=2000, blank=True, editable=False)

    objects = QuotaRequestQuerySet.as_manager()

    class Meta(Row.Meta):
        verbose_name = "quota request"
        constraints = [
            models.CheckConstraint(condition=models.Q(gpu_ms__gt=0), name="quota_request_asks_for_some"),
            models.CheckConstraint(
                condition=models.Q(status=Status.APPROVED, granted_ms__gt=0, granted_ms__lte=models.F("gpu_ms"))
                | (~models.Q(status=Status.APPROVED) & models.Q(granted_ms__isnull=True)),
                name="quota_request_grants_at_most_what_was_asked",
            ),
            models.CheckConstraint(
                condition=models.Q(status=Status.PENDING, decided_at__isnull=True)
                | (~models.Q(status=Status.PENDING) & models.Q(decided_at__isnull=False)),
                name="quota_request_decided_has_a_moment",
            ),
        ]
        indexes = [
            models.Index(fields=["status", "-id"], name="quota_request_status"),
            models.Index(fields=["account", "-id"], name="quota_request_account"),
        ]

    def __str__(self) -> str:
        return f"{show_hours(self.gpu_ms)} h for {self.account}"

    def approve(self, *, by: Any, granted_ms: int, reason: str = "", now: datetime) -> None:
        """Say yes to at most what was asked; the hours themselves move in services.

        Raises Conflict, which names who decided and when, if somebody decided before.
        """
        self._decide(Status.APPROVED, by=by, reason=reason, now=now, granted_ms=granted_ms)

    def reject(self, *, by: Any, reason: str, now: datetime) -> None:
        """Say no, with a reason for the person who asked. Raises Conflict as approve does."""
        self._decide(Status.REJECTED, by=by, reason=reason, now=now)

    def _decide(self, new: str, *, by: Any, reason: str, now: datetime, **fields: Any) -> None:
        try:
            moved = self._move_to(
                new, by=by, reason=reason, now=now, decided_by=by, decided_at=now, decision_reason=reason, **fields
            )
        except IllegalTransition:
            moved = False
        if not moved:
            self.refresh_from_db()
            who = self.decided_by or "a user who is gone"
            raise Conflict(
                f"{who} {self.get_status_display().lower()} this request at {self.decided_at:%Y-%m-%d %H:%M:%S} UTC;"
                " a new request can be made."
            )

    def _record_move(self, old: str, new: str, *, by: object | None, reason: str, now: datetime) -> None:
        record(
            action=f"quota_request.{new.lower()}",
            obj=self,
            by=by,
            before={"status": old},
            after={"status": new, "gpu_ms": self.gpu_ms, "granted_ms": self.granted_ms},
            reason=reason,
            now=now,
        )
