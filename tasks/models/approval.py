from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from accounts.choices import Role
from gaas.lib.lifecycle import Lifecycle
from gaas.lib.rows import Row
from tasks.choices import StepKind, StepStatus
from tasks.querysets import ApprovalStepQuerySet


class ApprovalStep(Row, Lifecycle):
    """Ask one yes or no of one kind of person; a task starts to queue when no step is left waiting."""

    TRANSITIONS: ClassVar[dict[str, set[str]]] = {
        StepStatus.PENDING: {StepStatus.APPROVED, StepStatus.REJECTED, StepStatus.VOID},
        StepStatus.APPROVED: set(),
        StepStatus.REJECTED: set(),
        StepStatus.VOID: set(),
    }

    task = models.ForeignKey("tasks.Task", on_delete=models.CASCADE, related_name="approval_steps")
    position = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=20, choices=StepKind)
    account = models.ForeignKey(
        "accounts.Account",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        editable=False,
        help_text="Whose managers decide a parent's step.",
    )
    why = models.CharField(max_length=200, help_text="The rule that asks for this step.")
    status = models.CharField(max_length=10, choices=StepStatus, default=StepStatus.PENDING, editable=False)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+", editable=False
    )
    decided_at = models.DateTimeField(null=True, blank=True, editable=False)
    reason = models.TextField(blank=True, editable=False)
    asked_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When its turn had come and letters were written."
    )

    objects = ApprovalStepQuerySet.as_manager()

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(fields=["task", "position"], name="approval_step_position"),
            models.CheckConstraint(
                name="approval_step_decided",
                condition=Q(status__in=["PENDING", "VOID"]) | Q(decided_by__isnull=False, decided_at__isnull=False),
            ),
            models.CheckConstraint(
                name="approval_step_of_parent_has_account",
                condition=Q(kind=StepKind.PARENT_MANAGER, account__isnull=False)
                | (~Q(kind=StepKind.PARENT_MANAGER) & Q(account__isnull=True)),
            ),
        ]
        indexes = [
            models.Index(fields=["-id"], name="approval_step_waiting", condition=Q(status="PENDING")),
            models.Index(
                fields=["-id"], name="approval_step_unasked", condition=Q(status="PENDING", asked_at__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} step of {self.task_id}"

    def is_for(self, user: Any) -> bool:
        """Tell whether this person is one whose yes the step asks for."""
        is_approver = bool(user.has_perm("tasks.approve_task"))
        if self.kind == StepKind.STAFF or (user.is_superuser and is_approver):
            return is_approver
        role = self.account.role_of(user) if self.account else None
        return role is not None and role >= Role.MANAGER

    def approve(self, *, by: models.Model, reason: str, now: datetime) -> bool:
        return self._move_to(StepStatus.APPROVED, by=by, reason=reason, now=now, decided_by_id=by.pk, decided_at=now)

    def reject(self, *, by: models.Model, reason: str, now: datetime) -> bool:
        return self._move_to(StepStatus.REJECTED, by=by, reason=reason, now=now, decided_by_id=by.pk, decided_at=now)

    def _record_move(self, old: str, new: str, *, by: object | None, reason: str, now: datetime) -> None:
        # The step itself is the record of its decision: who, when and why stand on the row.
        type(self).objects.filter(pk=self.pk).update(reason=reason)
        self.reason = reason
