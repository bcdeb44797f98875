from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models, transaction
from django.db.models import Q

from accounts.choices import Role
from gaas.audit.services import record
from gaas.lib.errors import Conflict, DomainError
from gaas.lib.rows import Row
from gpus import credentials
from gpus.choices import SPEAKING, HostStatus, Sandbox
from gpus.models.decided import Decided
from gpus.querysets import HostQuerySet

LONGEST_NOTICE = timedelta(days=90)


class Host(Row, Decided):
    """Be a machine (or a partition of a cluster) with an agent that runs attempts.

    The row holds what the agent is believed by: a hash of its secret, and session, seq and boot id of the
    last sync that was taken. Reachable is whoever's lease, renewed by each sync, has not run out.
    """

    TRANSITIONS: ClassVar[dict[str, set[str]]] = {
        HostStatus.JOINING: {HostStatus.ACTIVE, HostStatus.REVOKED},
        HostStatus.ACTIVE: {HostStatus.DRAINING, HostStatus.MAINTENANCE, HostStatus.REVOKED},
        HostStatus.DRAINING: {HostStatus.ACTIVE, HostStatus.MAINTENANCE, HostStatus.REVOKED},
        HostStatus.MAINTENANCE: {HostStatus.ACTIVE, HostStatus.DRAINING, HostStatus.REVOKED},
        HostStatus.REVOKED: set(),
    }

    account = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="hosts")
    name = models.CharField(max_length=100)
    status = models.CharField(max_length=11, choices=HostStatus, default=HostStatus.JOINING, editable=False)
    region = models.CharField(max_length=63, blank=True)
    labels = models.JSONField(default=dict, blank=True)
    is_local = models.BooleanField("is the server's own machine", default=False, editable=False)

    join_token_hash = models.CharField(max_length=64, blank=True, editable=False)
    join_token_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    secret_hash = models.CharField(max_length=64, blank=True, editable=False)
    revoked_hash = models.CharField(max_length=64, blank=True, editable=False)
    old_secret_hash = models.CharField(max_length=64, blank=True, editable=False)
    old_secret_until = models.DateTimeField(null=True, blank=True, editable=False)

    maintenance_from = models.DateTimeField(null=True, blank=True, editable=False)
    maintenance_until = models.DateTimeField(null=True, blank=True, editable=False)
    reliability = models.FloatField(
        default=1.0, editable=False, help_text="(up minutes + 10) / (minutes + 10) over 30 days."
    )

    session = models.UUIDField(null=True, blank=True, editable=False)
    seq = models.BigIntegerField(default=0, editable=False)
    boot_id = models.CharField(max_length=100, blank=True, editable=False)
    conflict_session = models.UUIDField(null=True, blank=True, editable=False)
    conflict_at = models.DateTimeField("another agent was heard", null=True, blank=True, editable=False)
    last_sync_at = models.DateTimeField(null=True, blank=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    revision = models.BigIntegerField(default=0, editable=False)
    protocol = models.PositiveSmallIntegerField(default=0, editable=False)
    clock_skew_seconds = models.FloatField(default=0, editable=False)

    hostname = models.CharField(max_length=253, blank=True, editable=False)
    agent_version = models.CharField(max_length=50, blank=True, editable=False)
    os = models.CharField("operating system", max_length=200, blank=True, editable=False)
    cpu_count = models.PositiveIntegerField("CPUs", default=0, editable=False)
    memory_mib = models.PositiveIntegerField("memory (MiB)", default=0, editable=False)
    sandbox = models.CharField(max_length=20, choices=Sandbox, blank=True, editable=False)
    executors = models.JSONField(default=list, blank=True, editable=False)

    inventory_hash = models.CharField(max_length=64, blank=True, editable=False)
    foreign_gpus = models.JSONField(
        default=list, blank=True, editable=False, help_text="GPUs it reports that belong to other hosts."
    )

    failures = models.PositiveSmallIntegerField("failures in a row", default=0, editable=False)
    failed_at = models.DateTimeField(null=True, blank=True, editable=False)
    failed_task = models.UUIDField(null=True, blank=True, editable=False)
    overclaims = models.PositiveIntegerField(
        "times claimed above the server's clock",
        default=0,
        editable=False,
        help_text="Attempts whose agent claimed over 5 % more time than the server counted. None of it was charged.",
    )
    overclaimed_at = models.DateTimeField(null=True, blank=True, editable=False)

    drained_for = models.TextField("why the platform drained it", blank=True, editable=False)

    objects = HostQuerySet.as_manager()

    class Meta(Row.Meta):
        verbose_name = "host"
        constraints = [
            models.UniqueConstraint(fields=["secret_hash"], condition=~Q(secret_hash=""), name="host_secret"),
            models.UniqueConstraint(fields=["revoked_hash"], condition=~Q(revoked_hash=""), name="host_revoked_secret"),
            models.UniqueConstraint(
                fields=["join_token_hash"], condition=~Q(join_token_hash=""), name="host_join_token"
            ),
            models.UniqueConstraint(
                fields=["is_local"], condition=Q(is_local=True) & ~Q(status=HostStatus.REVOKED), name="host_one_local"
            ),
            models.UniqueConstraint(
                fields=["old_secret_hash"], condition=~Q(old_secret_hash=""), name="host_old_secret"
            ),
            models.CheckConstraint(
                condition=Q(maintenance_from__isnull=True, maintenance_until__isnull=True)
                | Q(maintenance_from__lt=models.F("maintenance_until")),
                name="host_maintenance_has_both_ends",
            ),
            models.CheckConstraint(
                condition=~Q(status=HostStatus.REVOKED) | Q(secret_hash="", old_secret_hash="", join_token_hash=""),
                name="host_revoked_has_no_secret",
            ),
            models.CheckConstraint(condition=Q(seq__gte=0), name="host_seq_counts_up"),
        ]
        indexes = [
            models.Index(fields=["account", "-id"], name="host_account"),
            models.Index(fields=["status", "-id"], name="host_status"),
            models.Index(fields=["-reliability", "-id"], name="host_reliability"),
            models.Index(
                fields=["maintenance_from"], condition=Q(maintenance_from__isnull=False), name="host_maintenance"
            ),
            models.Index(
                fields=["lease_expires_at"],
                condition=Q(status__in=[HostStatus.ACTIVE, HostStatus.DRAINING, HostStatus.MAINTENANCE]),
                name="host_lease",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def is_reachable(self, now: datetime) -> bool:
        """Tell whether a sync was taken within the last lease."""
        return self.status in SPEAKING and self.lease_expires_at is not None and self.lease_expires_at > now

    @property
    def reliability_shown(self) -> str:
        """Write the score in percent, rounded down: 100 % is for who missed nothing."""
        return f"{int(self.reliability * 1000) / 10:g} %"

    def may_be_run_by(self, user: Any) -> bool:
        """Tell whether a user may change this host: by permission, or as manager of its account."""
        if user.is_staff and user.has_perm("gpus.change_host"):
            return True
        return (self.account.spending_role_of(user) or Role.VIEWER) >= Role.MANAGER

    def activate(self, *, now: datetime) -> None:
        """Take a host that was heard for the first time into service."""
        self._decide(HostStatus.ACTIVE, by=None, reason="heard for the first time", now=now)

    def drain(self, *, by: object | None, reason: str = "", now: datetime) -> None:
        """Give it no more work; what runs goes on to its end."""
        self._order(HostStatus.DRAINING, by=by, reason=reason, now=now)

    def maintenance(
        self,
        *,
        by: object | None,
        reason: str = "",
        begins_at: datetime | None = None,
        ends_at: datetime | None = None,
        now: datetime,
    ) -> None:
        """Announce that it will be away; what it misses meanwhile does not count against its reliability.

        From now on, given no more work, as by drain; until `ends_at` it is back at work by itself, else by undrain.
        With a later `begins_at` it goes on working, and gets nothing that would run into it. Announced again, the
        new times count. Raises Conflict for a host that cannot go there, DomainError for times without sense.
        """
        if self.status == HostStatus.MAINTENANCE and begins_at is not None and begins_at > now:
            raise DomainError("It is in maintenance already: say only when that ends.", attr="begins_at")
        if self.status == HostStatus.MAINTENANCE and ends_at is None and self.maintenance_until is None:
            self._refuse(HostStatus.MAINTENANCE)
        begins_at = begins_at or now
        if ends_at is None and begins_at > now:
            raise DomainError("Say when an announced maintenance ends.", attr="ends_at")
        if ends_at is not None and ends_at <= max(begins_at, now):
            raise DomainError("It must end after it begins, and later than now.", attr="ends_at")
        if max(begins_at, ends_at or now) > now + LONGEST_NOTICE:
            raise DomainError(f"Announce at most {LONGEST_NOTICE.days} days ahead.", attr="ends_at")
        # Without an end the row's times are of no use: the status alone says that it is away.
        times = {"maintenance_from": begins_at if ends_at else None, "maintenance_until": ends_at}
        if begins_at <= now and self.status != HostStatus.MAINTENANCE:
            self._order(HostStatus.MAINTENANCE, by=by, reason=reason, now=now, **times)
            return
        if self.status not in (HostStatus.ACTIVE, HostStatus.DRAINING, HostStatus.MAINTENANCE):
            self._refuse(HostStatus.MAINTENANCE)
        shown = {name: at.isoformat() if at else None for name, at in times.items()}
        self._keep(action="host.announce", by=by, now=now, after=shown, reason=reason, **times)

    def undrain(self, *, by: object | None, reason: str = "", now: datetime) -> None:
        """Give it work again after drain or maintenance; what it failed at before is forgiven.

        A maintenance that was announced is off.
        """
        if self.status == HostStatus.JOINING:
            self._refuse(HostStatus.ACTIVE)  # only its agent's first sync makes it ACTIVE
        off = {"maintenance_from": None, "maintenance_until": None}
        if self.status == HostStatus.ACTIVE and self.maintenance_from is not None:
            self._keep(action="host.announce_off", by=by, now=now, reason=reason, **off)
            return
        forgiven = {"failures": 0, "failed_task": None, "drained_for": ""}
        self._order(HostStatus.ACTIVE, by=by, reason=reason, now=now, **off, **forgiven)

    def count_failure(self, *, task_id: Any, is_loss: bool, offered_at: datetime, now: datetime) -> int:
        """Count a failure of the host, whose row the caller locked; returns how many there are in a row.

        One outage counts once, however many attempts it takes: those were all offered before it was noted. A task
        that fails on it again and again counts once too, unless the host was lost with it: it may be the task.
        """
        is_same_outage = self.failed_at is not None and offered_at <= self.failed_at
        if not is_same_outage and (is_loss or self.failed_task != task_id):
            self.failures, self.failed_at, self.failed_task = self.failures + 1, now, task_id
            self.save(update_fields=["failures", "failed_at", "failed_task"])
        return self.failures

    def drain_for(self, why: str, *, now: datetime) -> None:
        """Give it no more work because of what it failed at; its owner sees why."""
        self._order(HostStatus.DRAINING, by=None, reason=why, now=now, drained_for=why)

    def begin_maintenance(self, *, now: datetime) -> None:
        """Begin the maintenance that was announced; a host that was sent elsewhere meanwhile stays there."""
        with transaction.atomic(), contextlib.suppress(Conflict):
            self._order(HostStatus.MAINTENANCE, by=None, reason="announced", now=now)

    def end_maintenance(self, *, now: datetime) -> None:
        """End an announced maintenance: back to work, or only forgotten where the host was not in it."""
        off = {"maintenance_from": None, "maintenance_until": None}
        with transaction.atomic():
            if self.status != HostStatus.MAINTENANCE:
                type(self)._base_manager.filter(pk=self.pk, maintenance_until=self.maintenance_until).update(**off)
                return
            with contextlib.suppress(Conflict):
                self._order(HostStatus.ACTIVE, by=None, reason="the announced maintenance is over", now=now, **off)

    def away_from(self, now: datetime) -> datetime | None:
        """Tell when its announced maintenance begins; None where none lies ahead."""
        if self.maintenance_from is None or self.maintenance_until is None or self.maintenance_until <= now:
            return None
        return max(self.maintenance_from, now)

    def revoke(self, *, by: object | None, reason: str = "", now: datetime) -> None:
        """Believe this host nothing from now on; its secret and join token are gone for good.

        Its agent is told so once more by the secret's hash, and ends what it runs. What the platform knows of that is
        not touched here: a host that is not believed cannot confirm it, so its leases end as those of a silent one.
        """
        self._order(
            HostStatus.REVOKED,
            by=by,
            reason=reason,
            now=now,
            secret_hash="",
            revoked_hash=self.secret_hash,
            old_secret_hash="",
            old_secret_until=None,
            join_token_hash="",
            join_token_expires_at=None,
        )

    def reissue_join_token(self, *, by: object | None, now: datetime) -> str:
        """Make a join token that replaces one not used; the agent's secret lives until it is used."""
        token = credentials.new_join_token()
        self._keep(
            action="host.join_token",
            by=by,
            now=now,
            join_token_hash=credentials.digest(token),
            join_token_expires_at=now + timedelta(seconds=settings.JOIN_TOKEN_SECONDS),
        )
        return token

    def rotate_secret(self, *, by: object | None, overlap_seconds: int = 0, now: datetime) -> str:
        """Make a new secret; the one before is refused from now on, or once an overlap is over.

        An overlap is for a change of routine; a secret that leaked is refused at once.
        """
        secret = credentials.new_secret()
        until = now + timedelta(seconds=overlap_seconds) if overlap_seconds and self.secret_hash else None
        self._keep(
            action="host.rotate_secret",
            by=by,
            now=now,
            after={"old_secret_until": until.isoformat()} if until else None,
            secret_hash=credentials.digest(secret),
            old_secret_hash=self.secret_hash if until else "",
            old_secret_until=until,
            conflict_session=None,
            conflict_at=None,
        )
        return secret

    def describe(
        self,
        *,
        by: object | None,
        now: datetime,
        name: str | None = None,
        region: str | None = None,
        labels: dict[str, str] | None = None,
    ) -> None:
        """Change what people and placement know it by; None leaves a value as it is."""
        wanted = {"name": name, "region": region, "labels": labels}
        new = {field: value for field, value in wanted.items() if value is not None and value != getattr(self, field)}
        if not new:
            return
        before = {field: getattr(self, field) for field in new}
        with transaction.atomic():
            type(self)._base_manager.filter(pk=self.pk).update(**new, updated_at=now)
            for field, value in new.items():
                setattr(self, field, value)
            record(action="host.describe", obj=self, by=by, before=before, after=new, now=now)

    def _order(self, new: str, *, by: object | None, reason: str, now: datetime, **fields: Any) -> None:
        with transaction.atomic():
            self._decide(new, by=by, reason=reason, now=now, **fields)
            type(self).objects.filter(pk=self.pk).bump()

    def _keep(
        self,
        *,
        action: str,
        by: object | None,
        now: datetime,
        after: dict[str, Any] | None = None,
        reason: str = "",
        **fields: Any,
    ) -> None:
        with transaction.atomic():
            alive = type(self)._base_manager.filter(pk=self.pk).exclude(status=HostStatus.REVOKED)
            if not alive.update(**fields, updated_at=now):
                raise Conflict("This host is REVOKED for good; add the machine as a new host.", attr="status")
            for field, value in fields.items():
                setattr(self, field, value)
            record(action=action, obj=self, by=by, after=after, reason=reason, now=now)
