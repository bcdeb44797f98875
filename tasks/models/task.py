from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from gaas.lib.lifecycle import Lifecycle
from gaas.lib.rows import Row
from gaas.lib.sealed import SealedField
from gaas.lib.wake import hint
from gaas.outbox import services as outbox
from tasks.choices import TERMINAL, Fault, Funding, TaskStatus
from tasks.models.event import TaskEvent
from tasks.news import SETTLED, event_of, news_of
from tasks.querysets import TaskQuerySet

S = TaskStatus


class Task(Row, Lifecycle):
    """Hold what a user wants run, who pays for it, and how far it got.

    `limit_ms` is the wall-clock limit of all charged attempts together; the hold is gpus × limit_ms.
    `max_price_per_hour` (micro-dollars per GPU-hour) and `fee_basis_points` are snapshots from the submit.
    `epoch` grows by one with each attempt; with the attempt's id it is the fencing token.

    A task that goes on (`is_open_ended`) has no end of its own: `limit_ms` is how far it is paid for and grows an
    hour at a time, and the hold is for what of that has not been charged yet (services/prolong.py).
    """

    TRANSITIONS: ClassVar[dict[str, set[str]]] = {
        S.PENDING: {S.APPROVED, S.REJECTED, S.EXPIRED, S.CANCELLED},
        S.APPROVED: {S.ASSIGNED, S.EXPIRED, S.CANCELLED, S.FAILED},
        S.ASSIGNED: {S.APPROVED, S.PROCESSING, S.CANCELLED, S.FAILED},
        S.PROCESSING: {S.APPROVED, S.COMPLETED, S.FAILED, S.CANCELLED},
        S.COMPLETED: set(),
        S.FAILED: set(),
        S.CANCELLED: set(),
        S.REJECTED: set(),
        S.EXPIRED: set(),
    }

    account = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="tasks")
    payer = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="+", editable=False)
    submitted_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="tasks")
    retry_of = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="retried_as", editable=False
    )

    title = models.CharField(max_length=200)
    kind = models.CharField(max_length=20)
    spec = models.JSONField()
    env = models.JSONField(default=dict, blank=True)
    secrets = SealedField(purpose="task", null=True)
    secret_names = models.JSONField(default=list, blank=True, editable=False)
    executor = models.CharField(max_length=20, editable=False)
    inputs = models.JSONField(
        default=list, blank=True, editable=False, help_text="Files it is given: path, size, sha256, file, and whence."
    )

    gpus = models.PositiveSmallIntegerField(default=1)
    min_vram_mib = models.PositiveIntegerField(null=True, blank=True)
    gpu_model = models.CharField(max_length=100, blank=True)
    min_compute_capability = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Major × 10 + minor: 90 is 9.0."
    )
    labels = models.JSONField(default=dict, blank=True)
    region = models.CharField(max_length=64, blank=True)
    host = models.ForeignKey("gpus.Host", null=True, blank=True, on_delete=models.PROTECT, related_name="+")

    funding = models.CharField(max_length=10, choices=Funding)
    contract = models.ForeignKey(
        "payments.Contract", null=True, blank=True, on_delete=models.PROTECT, related_name="+", editable=False
    )
    # How its submitter asked to pay where reserved hours pay first: {"funding", "max_price_per_hour"}; else null.
    asked_to_pay = models.JSONField(null=True, blank=True, editable=False)
    # Whose GPUs alone it may run on; a copy of the contract's, for the matcher.
    reserved_owner_id = models.UUIDField(null=True, blank=True, editable=False)
    limit_ms = models.BigIntegerField(help_text="Milliseconds of wall clock for all charged attempts together.")
    is_open_ended = models.BooleanField(
        default=False, editable=False, help_text="Goes on until somebody ends it, paid ahead hour by hour."
    )
    hold_warned_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When its submitter was told that its hold runs out."
    )
    max_price_per_hour = models.BigIntegerField(null=True, blank=True, help_text="Micro-dollars per GPU-hour.")
    fee_basis_points = models.PositiveSmallIntegerField(default=0)
    hold = models.OneToOneField("ledger.Hold", on_delete=models.PROTECT, related_name="+", editable=False)
    cost_code = models.CharField(max_length=64, blank=True)

    priority = models.SmallIntegerField(default=0)
    retries = models.PositiveSmallIntegerField(default=0)
    interruptible = models.BooleanField(
        default=False, help_text="May begin where its owner's hours end before its limit, and is placed again then."
    )
    may_idle = models.BooleanField(default=False, editable=False, help_text="The idle rule leaves it alone.")
    wait_until = models.DateTimeField(null=True, blank=True, help_text="Expires when no GPU was found by then.")

    status = models.CharField(max_length=12, choices=TaskStatus, default=S.PENDING, editable=False)
    epoch = models.PositiveIntegerField(default=0, editable=False)
    infra_failures = models.PositiveSmallIntegerField(default=0, editable=False)
    user_failures = models.PositiveSmallIntegerField(default=0, editable=False)
    waiting = models.JSONField(null=True, blank=True, editable=False)
    cancel_requested_at = models.DateTimeField(null=True, blank=True, editable=False)
    complete_requested_at = models.DateTimeField(null=True, blank=True, editable=False)

    exit_code = models.IntegerField(null=True, blank=True, editable=False)
    failure_code = models.CharField(max_length=64, blank=True, editable=False)
    failure_detail = models.TextField(blank=True, editable=False)
    failure_fault = models.CharField(max_length=10, choices=Fault, blank=True, editable=False)
    result = models.JSONField(null=True, blank=True, editable=False)
    gpu_ms = models.BigIntegerField(default=0, editable=False, help_text="GPU-milliseconds charged.")
    cost_microusd = models.BigIntegerField(default=0, editable=False)

    approved_at = models.DateTimeField(null=True, blank=True, editable=False)
    started_at = models.DateTimeField(null=True, blank=True, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = TaskQuerySet.as_manager()

    class Meta(Row.Meta):
        permissions = [
            ("approve_task", "Can approve and reject tasks"),
            ("operate_task", "Can cancel and complete any task"),
        ]
        constraints = [
            models.CheckConstraint(name="task_gpus_positive", condition=Q(gpus__gte=1)),
            models.CheckConstraint(name="task_limit_positive", condition=Q(limit_ms__gt=0)),
            models.CheckConstraint(name="task_status_known", condition=Q(status__in=TaskStatus.values)),
            models.CheckConstraint(
                name="task_wallet_has_price", condition=~Q(funding="wallet") | Q(max_price_per_hour__isnull=False)
            ),
            models.CheckConstraint(
                name="task_reserved_by_a_contract",
                condition=Q(funding="reserved", contract__isnull=False, reserved_owner_id__isnull=False)
                | (~Q(funding="reserved") & Q(contract__isnull=True, reserved_owner_id__isnull=True)),
            ),
            models.CheckConstraint(
                name="task_finished_iff_terminal",
                condition=(
                    Q(status__in=sorted(TERMINAL), finished_at__isnull=False)
                    | (~Q(status__in=sorted(TERMINAL)) & Q(finished_at__isnull=True))
                ),
            ),
            models.CheckConstraint(
                name="task_stop_on_host", condition=Q(complete_requested_at__isnull=True) | Q(epoch__gte=1)
            ),
        ]
        indexes = [
            models.Index(F("priority").desc(), F("id"), name="task_queue", condition=Q(status="APPROVED")),
            models.Index(fields=["account", "-id"], name="task_by_account"),
            models.Index(fields=["submitted_by", "-id"], name="task_by_user"),
            models.Index(fields=["status", "-id"], name="task_by_status"),
            models.Index(fields=["kind", "-id"], name="task_by_kind"),
            models.Index(
                fields=["wait_until"],
                name="task_waiting_until",
                condition=Q(status__in=["PENDING", "APPROVED"], wait_until__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def is_cancelling(self) -> bool:
        return self.cancel_requested_at is not None and not self.is_terminal

    @property
    def asked_ms(self) -> int | None:
        """Give the time that was asked for; None where there is no end to it."""
        return None if self.is_open_ended else self.limit_ms

    def open_secrets(self) -> dict[str, str]:
        """Give the secret part of the program's environment, for its host alone. Raises Unsealable."""
        return self.secrets.open() if self.secrets else {}

    def note(self, *, by: object | None, reason: str, now: datetime) -> None:
        """Write an event that changes no state."""
        self._record_move(self.status, self.status, by=by, reason=reason, now=now)

    def approve(self, *, by: object | None, reason: str = "", now: datetime) -> bool:
        return self._move_to(S.APPROVED, by=by, reason=reason, now=now, approved_at=now)

    def reject(self, *, by: object | None, reason: str, now: datetime) -> bool:
        return self._move_to(S.REJECTED, by=by, reason=reason, now=now, finished_at=now, waiting=None)

    def expire(self, *, reason: str, now: datetime) -> bool:
        return self._move_to(S.EXPIRED, by=None, reason=reason, now=now, finished_at=now, waiting=None)

    @classmethod
    def assign_all(cls, reasons: Mapping[Task, str], *, now: datetime) -> None:
        """Take the next epoch for each of these, which the caller locked; it writes their attempts with it.

        Two statements for all: a pass of the matcher may assign thousands.
        """
        cls._move_all_to(S.ASSIGNED, reasons, now=now, epoch=F("epoch") + 1, waiting=None)

    def start(self, *, by: object, now: datetime) -> bool:
        return self._move_to(
            S.PROCESSING, by=by, reason="The program starts.", now=now, started_at=self.started_at or now
        )

    def requeue(self, *, reason: str, now: datetime, **counters: int) -> bool:
        return self._move_to(S.APPROVED, by=None, reason=reason, now=now, hold_warned_at=None, **counters)

    def cancel(self, *, by: object | None, reason: str, now: datetime, **outcome: object) -> bool:
        return self._move_to(S.CANCELLED, by=by, reason=reason, now=now, finished_at=now, waiting=None, **outcome)

    def complete(self, *, by: object | None, reason: str, now: datetime, **outcome: object) -> bool:
        return self._move_to(S.COMPLETED, by=by, reason=reason, now=now, finished_at=now, waiting=None, **outcome)

    def fail(self, *, by: object | None, reason: str, now: datetime, **outcome: object) -> bool:
        return self._move_to(S.FAILED, by=by, reason=reason, now=now, finished_at=now, waiting=None, **outcome)

    def _record_move(self, old: str, new: str, *, by: object | None, reason: str, now: datetime) -> None:
        TaskEvent.note(self.pk, old=old, new=new, by=by, reason=reason, now=now)
        hint(f"task:{self.pk}")
        if new not in SETTLED:
            self.tell(since=old, now=now)

    def tell(self, *, since: str, now: datetime) -> None:
        """Tell the webhooks of its account that it is no longer as it was."""
        if (event := event_of(since, self.status)) is not None:
            outbox.tell(event=event, account=self.account, data=news_of(self), now=now)

    @classmethod
    def _record_moves(cls, old: str, new: str, *, reasons: Mapping[Task, str], now: datetime) -> None:
        TaskEvent.objects.bulk_create(
            TaskEvent.step(task.pk, old=old, new=new, by=None, reason=reason, now=now)
            for task, reason in reasons.items()
        )
        for task in reasons:
            hint(f"task:{task.pk}")
