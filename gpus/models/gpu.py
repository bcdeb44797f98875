from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django.db import models, transaction
from django.db.models import Q

from accounts.choices import Role
from gaas.audit.services import record
from gaas.lib.amounts import show_micro
from gaas.lib.errors import NotAllowed
from gaas.lib.rows import Row
from gpus import windows
from gpus.choices import OFF_SHOW, ON_SHOW, GPUStatus, Visibility
from gpus.models.decided import Decided
from gpus.querysets import GPUQuerySet


class GPU(Row, Decided):
    """Be one device, or one MIG slice, of a host: what it is comes from the agent, the terms from its owner."""

    TRANSITIONS: ClassVar[dict[str, set[str]]] = {
        GPUStatus.UNLISTED: {GPUStatus.LISTED, GPUStatus.RETIRED},
        GPUStatus.LISTED: {GPUStatus.UNLISTED, GPUStatus.DRAINING, GPUStatus.RETIRED},
        GPUStatus.DRAINING: {GPUStatus.LISTED, GPUStatus.UNLISTED, GPUStatus.RETIRED},
        GPUStatus.RETIRED: {GPUStatus.UNLISTED},
    }

    host = models.ForeignKey("gpus.Host", on_delete=models.PROTECT, related_name="gpus", editable=False)
    uuid = models.CharField("device id", max_length=100, unique=True, editable=False)
    index = models.PositiveIntegerField(editable=False)
    model = models.CharField(max_length=100, editable=False)
    vram_mib = models.PositiveIntegerField("memory (MiB)", editable=False)
    compute_capability = models.CharField(max_length=5, blank=True, editable=False)
    capability_number = models.PositiveSmallIntegerField(default=0, editable=False)
    driver = models.CharField(max_length=50, blank=True, editable=False)
    is_simulated = models.BooleanField("simulated", default=False, editable=False)
    is_present = models.BooleanField("in the host's last report", default=True, editable=False)
    last_seen_at = models.DateTimeField(editable=False, help_text="While present, the host's last sync counts.")
    metrics = models.JSONField(default=dict, blank=True, editable=False)
    foreign_processes = models.PositiveIntegerField(
        default=0,
        editable=False,
        help_text="Programs on it that the platform did not start; while there are any it is not offered.",
    )

    status = models.CharField(max_length=8, choices=GPUStatus, default=GPUStatus.UNLISTED, editable=False)
    first_listed_at = models.DateTimeField(null=True, blank=True, editable=False)
    price_per_hour = models.BigIntegerField("price per hour (micro-dollars)", default=0)
    accepts_quota = models.BooleanField(
        "takes quota", default=False, help_text="Tasks that are paid with hours may run here."
    )
    visibility = models.CharField(max_length=7, choices=Visibility, default=Visibility.PRIVATE)
    labels = models.JSONField(default=dict, blank=True)
    schedule = models.JSONField(
        default=dict, blank=True, help_text="When it may be used (gpus/windows.py); the empty one is always open."
    )
    is_closed = models.BooleanField("outside its hours", default=False, editable=False)
    turns_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When its schedule opens or closes it next."
    )

    objects = GPUQuerySet.as_manager()

    class Meta(Row.Meta):
        verbose_name = "GPU"
        permissions = [("list_gpu", "Can list a GPU for the first time")]
        constraints = [
            models.CheckConstraint(condition=Q(price_per_hour__gte=0), name="gpu_price_not_negative"),
            models.CheckConstraint(
                condition=Q(status__in=OFF_SHOW) | Q(first_listed_at__isnull=False),
                name="gpu_on_show_was_listed",
            ),
        ]
        indexes = [
            models.Index(
                fields=["host", "index"], condition=Q(status=GPUStatus.LISTED, is_present=True), name="gpu_listed"
            ),
            models.Index(fields=["turns_at"], condition=Q(turns_at__isnull=False), name="gpu_turns"),
            models.Index(fields=["status", "-id"], name="gpu_status"),
            models.Index(fields=["model", "-id"], name="gpu_model"),
            models.Index(fields=["host", "-id"], name="gpu_host"),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.uuid}"

    @property
    def account_id(self) -> Any:
        """Name the owner's account, for the audit trail."""
        return self.host.account_id

    @property
    def seen_at(self) -> datetime:
        """Tell when it was last in a report; reports that repeat the one before touch only the host."""
        return self.host.last_sync_at if self.is_present and self.host.last_sync_at else self.last_seen_at

    def may_be_run_by(self, user: Any) -> bool:
        """Tell whether a user may change this GPU: by permission, or as manager of the owner's account."""
        if user.is_staff and user.has_perm("gpus.change_gpu"):
            return True
        return (self.host.account.spending_role_of(user) or Role.VIEWER) >= Role.MANAGER

    def list(self, *, by: Any, reason: str = "", now: datetime) -> None:
        """Offer it. The first time is for staff: whoever is charged must be able to trust what it claims to be.

        Raises NotAllowed for a first listing without the permission, Conflict if it cannot be listed.
        """
        is_first = self.first_listed_at is None and by is not None
        if is_first and not (by.is_staff and by.has_perm("gpus.list_gpu")):
            raise NotAllowed("The first listing of a GPU is for staff: ask an operator; later ones are yours.")
        self._decide(GPUStatus.LISTED, by=by, reason=reason, now=now, first_listed_at=self.first_listed_at or now)

    def unlist(self, *, by: object | None, reason: str = "", now: datetime) -> None:
        """Offer it to nobody; what runs goes on. Also brings a retired one back."""
        self._decide(GPUStatus.UNLISTED, by=by, reason=reason, now=now)

    def drain(self, *, by: object | None, reason: str = "", now: datetime) -> None:
        """Give it no more work but keep it in sight; what runs goes on to its end."""
        self._decide(GPUStatus.DRAINING, by=by, reason=reason, now=now)

    def undrain(self, *, by: object | None, reason: str = "", now: datetime) -> None:
        """Offer it again after drain."""
        if self.status != GPUStatus.DRAINING:
            self._refuse(GPUStatus.LISTED)  # listing has a rule of its own
        self._decide(GPUStatus.LISTED, by=by, reason=reason, now=now)

    def retire(self, *, by: object | None, reason: str = "", now: datetime) -> None:
        """Take it out of service; from then on another host may bring it."""
        self._decide(GPUStatus.RETIRED, by=by, reason=reason, now=now)

    def move_to_host(self, host: Any, *, now: datetime) -> None:
        """Hand a GPU that its owner let go of (retired, or its host revoked) to the host that reports it now.

        It starts over: unlisted, private, without a price, to be listed by staff first.
        """
        with transaction.atomic():
            reason = f"now in host {host.pk}, before in host {self.host_id}"
            if self.status != GPUStatus.RETIRED:
                self._decide(GPUStatus.RETIRED, by=None, reason=reason, now=now)
            self._decide(
                GPUStatus.UNLISTED,
                by=None,
                reason=reason,
                now=now,
                host=host,
                first_listed_at=None,
                visibility=Visibility.PRIVATE,
                accepts_quota=False,
                price_per_hour=0,
                labels={},
                schedule={},
                is_closed=False,
                turns_at=None,
                foreign_processes=0,
            )

    def require_new_listing(self, *, reason: str, now: datetime) -> None:
        """Take back that staff listed it: it is no longer what they saw."""
        if self.status in ON_SHOW:
            self._decide(GPUStatus.UNLISTED, by=None, reason=reason, now=now, first_listed_at=None)
        self.first_listed_at = None
        type(self)._base_manager.filter(pk=self.pk, status__in=OFF_SHOW).update(first_listed_at=None)

    def offer(
        self,
        *,
        by: object | None,
        now: datetime,
        price_per_hour: int | None = None,
        visibility: str | None = None,
        accepts_quota: bool | None = None,
        labels: dict[str, str] | None = None,
        schedule: dict[str, Any] | None = None,
    ) -> None:
        """Set the terms: price in micro-dollars an hour, whose tasks, quota or not, when; None leaves a value as it is.

        A task that holds this GPU keeps the price and the closing time that it was placed at.
        """
        wanted = {
            "price_per_hour": price_per_hour,
            "visibility": visibility,
            "accepts_quota": accepts_quota,
            "labels": labels,
            "schedule": schedule,
        }
        new = {field: value for field, value in wanted.items() if value is not None and value != getattr(self, field)}
        if not new:
            return
        before = {field: getattr(self, field) for field in new}
        derived: dict[str, Any] = {}
        if schedule is not None:
            derived["is_closed"], derived["turns_at"] = windows.turn(schedule, now)
        with transaction.atomic():
            type(self)._base_manager.filter(pk=self.pk).update(**new, **derived, updated_at=now)
            for field, value in (new | derived).items():
                setattr(self, field, value)
            record(action="gpu.offer", obj=self, by=by, before=before, after=new, now=now)

    @property
    def price_shown(self) -> str:
        """Write the price as the interfaces show it."""
        return show_micro(self.price_per_hour)
