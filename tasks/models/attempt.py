from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from gaas.lib.lifecycle import Lifecycle
from gaas.lib.rows import Row
from gaas.lib.wake import hint
from tasks.choices import OPEN, AttemptStatus, Fault
from tasks.meter import metered_ms
from tasks.outcome import is_charged
from tasks.querysets import AttemptQuerySet

A = AttemptStatus


class Attempt(Row, Lifecycle):
    """Lend a task's GPUs on one host to one try of it. `(id, epoch)` is the fencing token.

    `elapsed_ms` is what the agent's own clock says; `metered_ms` is what counts, fixed at the end:
    the least of the agent's time, the database's time and what is left of the hold.
    """

    TRANSITIONS: ClassVar[dict[str, set[str]]] = {
        A.OFFERED: {A.PREPARING, A.REFUSED, A.CANCELLED, A.LOST},
        A.PREPARING: {A.RUNNING, A.REFUSED, A.CANCELLED, A.LOST},
        A.RUNNING: {A.SUCCEEDED, A.FAILED, A.CANCELLED, A.TIMED_OUT, A.LOST},
        A.SUCCEEDED: set(),
        A.FAILED: set(),
        A.CANCELLED: set(),
        A.TIMED_OUT: set(),
        A.LOST: set(),
        A.REFUSED: set(),
    }

    task = models.ForeignKey("tasks.Task", on_delete=models.PROTECT, related_name="attempts")
    epoch = models.PositiveIntegerField()
    host = models.ForeignKey("gpus.Host", on_delete=models.PROTECT, related_name="attempts")
    status = models.CharField(max_length=10, choices=AttemptStatus, default=A.OFFERED, editable=False)
    fault = models.CharField(max_length=10, choices=Fault, blank=True, editable=False)

    offered_at = models.DateTimeField()
    prepared_from = models.DateTimeField(null=True, blank=True, help_text="When the host took the offer.")
    started_at = models.DateTimeField(null=True, blank=True)
    started_session = models.UUIDField(null=True, blank=True)
    started_seq = models.BigIntegerField(null=True, blank=True)
    acked_at = models.DateTimeField(null=True, blank=True, help_text="The last sync that reported it.")
    ended_at = models.DateTimeField(null=True, blank=True)

    elapsed_ms = models.BigIntegerField(default=0)
    metered_ms = models.BigIntegerField(default=0)
    limit_ms = models.BigIntegerField(help_text="What was left of the task's limit at the offer.")
    charged_ms = models.BigIntegerField(default=0, help_text="What of it was charged while it ran.")
    runs_out_at = models.DateTimeField(
        null=True, blank=True, help_text="Until when what is held for it lasts, at the latest reckoning."
    )
    charged_parts = models.PositiveIntegerField(default=0, help_text="In how many parts that was.")
    stop_at = models.DateTimeField(
        null=True, blank=True, help_text="When its owner's window closes, where it may be stopped then."
    )
    idle_since = models.DateTimeField(null=True, blank=True, help_text="Since when its GPUs do next to nothing.")
    idle_seen_at = models.DateTimeField(null=True, blank=True)
    idle_warned_at = models.DateTimeField(null=True, blank=True)
    progress = models.JSONField(null=True, blank=True)
    phase = models.JSONField(
        null=True, blank=True, help_text="What its host does before the start or after the end: text, percent."
    )
    usage = models.JSONField(default=dict, blank=True)

    log_size = models.BigIntegerField(default=0)
    log_sha256 = models.CharField(max_length=64, blank=True)
    log_lost_from = models.BigIntegerField(null=True, blank=True)
    log_refetches = models.PositiveSmallIntegerField(default=0, editable=False)
    is_log_suspect = models.BooleanField(
        "log is not what its host wrote", default=False, editable=False, help_text="Its SHA-256 stayed another one."
    )

    log_pack_due_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When its log is packed, or that is tried again."
    )
    log_removed_at = models.DateTimeField(null=True, blank=True, editable=False)

    files_note = models.TextField(blank=True, help_text="Which files of it were not kept, and why.")

    exit_code = models.IntegerField(null=True, blank=True)
    failure_code = models.CharField(max_length=64, blank=True)
    failure_detail = models.TextField(blank=True)

    objects = AttemptQuerySet.as_manager()

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["task"], name="attempt_one_open_per_task", condition=Q(status__in=sorted(OPEN))
            ),
            models.UniqueConstraint(fields=["task", "epoch"], name="attempt_epoch_once"),
            models.CheckConstraint(
                name="attempt_ended_iff_closed",
                condition=(
                    Q(status__in=sorted(OPEN), ended_at__isnull=True)
                    | (~Q(status__in=sorted(OPEN)) & Q(ended_at__isnull=False))
                ),
            ),
            models.CheckConstraint(
                name="attempt_metered_in_limit", condition=Q(metered_ms__gte=0, metered_ms__lte=models.F("limit_ms"))
            ),
        ]
        indexes = [
            models.Index(fields=["host"], name="attempt_open_by_host", condition=Q(status__in=sorted(OPEN))),
            models.Index(fields=["host", "-id"], name="attempt_by_host"),
            models.Index(
                fields=["idle_since"],
                name="attempt_idle",
                condition=Q(status=AttemptStatus.RUNNING, idle_since__isnull=False),
            ),
            models.Index(
                fields=["log_pack_due_at"], name="attempt_log_to_pack", condition=Q(log_pack_due_at__isnull=False)
            ),
            models.Index(fields=["runs_out_at"], name="attempt_running_out", condition=Q(status=AttemptStatus.RUNNING)),
            models.Index(fields=["ended_at"], name="attempt_refused_lately", condition=Q(status=AttemptStatus.REFUSED)),
        ]

    def __str__(self) -> str:
        return f"attempt {self.epoch} of {self.task_id}"

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def paid_ms(self) -> int:
        """Give what of its time its payer pays for, or has paid while it ran."""
        is_paid = is_charged(self.status, self.fault, had_started=self.started_at is not None) and not self.is_open
        return self.metered_ms if is_paid else self.charged_ms

    @property
    def metered_now(self) -> int:
        """Give the milliseconds that count so far, as of the last sync that reported it. They never shrink."""
        until = self.acked_at or self.started_at
        if until is None:
            return 0
        metered = metered_ms(
            elapsed_ms=self.elapsed_ms, started_at=self.started_at, until=until, limit_ms=self.limit_ms
        )
        return max(metered, self.charged_ms)

    def take(self, *, now: datetime) -> bool:
        """Note that the host took the offer."""
        return self._move_to(A.PREPARING, by=None, now=now, prepared_from=now, acked_at=now)

    def start(self, *, session: object, seq: int, now: datetime) -> bool:
        """Give the permission to run; the charge begins at `now`."""
        return self._move_to(
            A.RUNNING,
            by=None,
            now=now,
            started_at=now,
            acked_at=now,
            started_session=session,
            started_seq=seq,
            runs_out_at=now + timedelta(milliseconds=self.limit_ms),
        )

    def end(self, status: str, *, fault: str, now: datetime, **fields: object) -> bool:
        """Close the attempt and give its GPUs back, in one transaction; a while later its log is packed."""
        pack_at = now + timedelta(seconds=settings.LOG_ARCHIVE_SECONDS)
        return self._move_to(status, by=None, now=now, ended_at=now, fault=fault, log_pack_due_at=pack_at, **fields)

    def _record_move(self, old: str, new: str, *, by: object | None, reason: str, now: datetime) -> None:
        # The task's events tell this story; here only the GPUs must follow the state.
        hint(f"task:{self.task_id}")
        if new not in OPEN:
            self.gpu_links.filter(is_open=True).update(is_open=False, updated_at=now)


class AttemptGPU(Row):
    """Bind one GPU to one attempt; UNIQUE(gpu) where open is what forbids double assignment."""

    attempt = models.ForeignKey(Attempt, on_delete=models.CASCADE, related_name="gpu_links")
    gpu = models.ForeignKey("gpus.GPU", on_delete=models.PROTECT, related_name="attempt_gpus")
    price_per_hour = models.BigIntegerField(help_text="Micro-dollars, as it stood at the offer.")
    is_open = models.BooleanField(default=True)

    class Meta(Row.Meta):
        verbose_name = "GPU of an attempt"
        verbose_name_plural = "GPUs of attempts"
        constraints = [
            models.UniqueConstraint(fields=["gpu"], name="gpu_in_one_open_attempt", condition=Q(is_open=True)),
            models.UniqueConstraint(fields=["attempt", "gpu"], name="attempt_gpu_once"),
        ]

    def __str__(self) -> str:
        return f"{self.gpu_id} in {self.attempt_id}"
