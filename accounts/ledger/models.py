"""Hours and money. Only the services of this app write these rows; see docs/ledger.md."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar, NoReturn

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.ledger.choices import LIMIT, PLATFORM_PREFIX, AssetKind, CheckSource, CheckStatus, HoldState
from accounts.ledger.querysets import BalanceQuerySet, HoldQuerySet, TransferQuerySet
from gaas.lib.amounts import show_hours, show_micro
from gaas.lib.ids import uuid7
from gaas.lib.lifecycle import Lifecycle
from gaas.lib.rows import Row

__all__ = ["Asset", "Balance", "BalanceSnapshot", "Cap", "CheckRun", "Hold", "HoldCap", "Transfer", "TransferSeal"]


class WrittenByServices(models.Model):
    """Refuse save() and delete(): they would write what was read some time ago over what is true now."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"A {self._meta.verbose_name} is written by accounts.ledger.services alone.")

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"A {self._meta.verbose_name} is never deleted; what was wrong is put right by another row.")


class Asset(models.Model):
    """State what is counted: `scale` integer units make one hour or one dollar."""

    code = models.CharField(primary_key=True, max_length=16)
    kind = models.CharField(max_length=16, choices=AssetKind)
    scale = models.PositiveBigIntegerField(help_text="How many of the integers stored make one hour or one dollar.")

    class Meta:
        ordering = ["code"]
        constraints = [models.CheckConstraint(name="asset_scale_positive", condition=Q(scale__gt=0))]

    def __str__(self) -> str:
        return self.code

    def show(self, amount: int) -> str:
        """Write an amount for people, such as "2.500000 h" or "0.000001 USD"."""
        if self.kind == AssetKind.HOURS:
            return f"{show_hours(amount)} h"
        return f"{show_micro(amount)} {self.code}"


class Balance(Row, WrittenByServices):
    """Keep what one owner has of one asset for one purpose.

    `posted` is the sum of all transfers in less all out; `held` of it is promised to open holds. A
    platform balance (owner_key `sys:…`) is lazy: everybody pays into it, so storing its sum would make
    every payment wait for every other. Its `posted` is NULL and `total()` adds up.
    """

    asset = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="+", db_index=False)
    kind = models.CharField(max_length=40)
    owner_key = models.CharField(max_length=80, db_index=True)
    posted = models.BigIntegerField(null=True, default=0)
    held = models.BigIntegerField(default=0)
    floor = models.BigIntegerField(null=True, blank=True, default=0)
    frozen_in = models.BooleanField(default=False)
    frozen_out = models.BooleanField(default=False)
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = BalanceQuerySet.as_manager()

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(name="balance_one_per_owner", fields=["asset", "kind", "owner_key"]),
            models.CheckConstraint(
                name="balance_within_limits",
                condition=Q(posted__gte=-LIMIT, posted__lte=LIMIT, held__lte=LIMIT)
                & (Q(floor=None) | Q(floor__gte=-LIMIT, floor__lte=LIMIT))
                | Q(posted=None),
            ),
            models.CheckConstraint(name="balance_held_not_negative", condition=Q(held__gte=0)),
            models.CheckConstraint(
                name="balance_not_overdrawn",
                condition=Q(floor=None) | Q(posted=None) | Q(posted__gte=F("floor") + F("held")),
            ),
            models.CheckConstraint(
                name="balance_lazy_only_for_platform",
                condition=Q(posted=None, owner_key__startswith=PLATFORM_PREFIX, held=0, floor=None)
                | (Q(posted__isnull=False) & ~Q(owner_key__startswith=PLATFORM_PREFIX)),
            ),
            models.CheckConstraint(
                name="balance_closed_is_empty",
                condition=Q(closed_at=None) | Q(posted=None) | Q(posted=0, held=0),
            ),
        ]
        # None names posted or held, or each payment would write into it too.
        indexes = [
            models.Index(name="balance_by_kind", fields=["kind", "-id"]),
            models.Index(name="balance_frozen", fields=["-id"], condition=Q(frozen_in=True) | Q(frozen_out=True)),
        ]

    def __str__(self) -> str:
        return f"{self.owner_key} {self.kind} ({self.asset_id})"

    @property
    def is_lazy(self) -> bool:
        return self.posted is None

    @property
    def available(self) -> int:
        """Give what may still be held or taken as this row was read; never less than 0."""
        if self.posted is None or self.floor is None:
            return LIMIT
        return max(0, self.posted - self.held - self.floor)

    def total(self) -> int:
        """Give `posted`, for a platform balance added up from its last snapshot on."""
        if self.posted is not None:
            return self.posted
        snapshot = self.snapshots.order_by("-before").first()
        if snapshot is None:
            return Transfer.objects.net_of(self.pk)
        return snapshot.posted + Transfer.objects.filter(created_at__gte=snapshot.before).net_of(self.pk)


class Hold(Row, WrittenByServices):
    """Promise a part of a balance to a purpose until it is captured, released or its time runs out.

    `opened_with` is the amount first asked for, kept so that a repeated request can be told from another
    one with the same key after the hold was extended. `spender` is for whom it is, which need not be who pays:
    a cap that is set later finds by it what counts already.
    """

    balance = models.ForeignKey(Balance, on_delete=models.PROTECT, related_name="holds", db_index=False)
    key = models.CharField(max_length=200, unique=True)
    opened_with = models.BigIntegerField()
    amount = models.BigIntegerField()
    captured = models.BigIntegerField(default=0)
    released = models.BigIntegerField(default=0)
    state = models.CharField(max_length=10, choices=HoldState, default=HoldState.OPEN)
    purpose = models.CharField(max_length=40)
    ref = models.CharField(max_length=200, blank=True, default="")
    spender = models.CharField(max_length=80, blank=True, default="", help_text="The account that it is for.")
    expires_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    caps = models.ManyToManyField("Cap", through="HoldCap", related_name="holds")

    objects = HoldQuerySet.as_manager()

    class Meta(Row.Meta):
        constraints = [
            models.CheckConstraint(
                name="hold_amounts",
                condition=Q(opened_with__gt=0, amount__gte=F("opened_with"), amount__lt=LIMIT)
                & Q(captured__gte=0, released__gte=0),
            ),
            models.CheckConstraint(name="hold_not_exceeded", condition=Q(amount__gte=F("captured") + F("released"))),
            models.CheckConstraint(
                name="hold_closed_adds_up",
                condition=Q(state=HoldState.OPEN, closed_at=None)
                | (
                    Q(state__in=[HoldState.CAPTURED, HoldState.RELEASED, HoldState.EXPIRED], closed_at__isnull=False)
                    & Q(amount=F("captured") + F("released"))
                ),
            ),
        ]
        indexes = [
            models.Index(name="hold_of_balance", fields=["balance", "-id"]),
            models.Index(name="hold_by_state", fields=["state", "-id"]),
            models.Index(name="hold_due", fields=["expires_at"], condition=Q(state=HoldState.OPEN)),
            models.Index(name="hold_of_spender", fields=["spender", "created_at"], condition=~Q(spender="")),
        ]

    def __str__(self) -> str:
        return self.key

    @property
    def open_amount(self) -> int:
        return self.amount - self.captured - self.released

    @property
    def is_open(self) -> bool:
        return self.state == HoldState.OPEN


class Transfer(WrittenByServices):
    """Record one movement, for ever: triggers refuse to change or remove it.

    It takes `amount` from `debit` and gives it to `credit`, so the books balance by construction. A
    mistake is put right by another transfer. Legs of one capture share a `group`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    key = models.CharField(max_length=200, unique=True)
    kind = models.CharField(max_length=40)
    asset = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="+", db_index=False)
    debit = models.ForeignKey(Balance, on_delete=models.PROTECT, related_name="debits", db_index=False)
    credit = models.ForeignKey(Balance, on_delete=models.PROTECT, related_name="credits", db_index=False)
    amount = models.BigIntegerField()
    hold = models.ForeignKey(Hold, on_delete=models.PROTECT, null=True, blank=True, related_name="transfers")
    reverses = models.OneToOneField("self", on_delete=models.PROTECT, null=True, blank=True, related_name="reversed_by")
    group = models.CharField(max_length=200, blank=True, default="")
    ref = models.CharField(max_length=200, blank=True, default="")
    actor = models.CharField(max_length=200, blank=True, default="")
    memo = models.CharField(max_length=500, blank=True, default="")
    effective_at = models.DateTimeField(db_default=Now())
    # The database's clock: snapshots cut by it, and a server's clock may be minutes off.
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = TransferQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(name="transfer_amount_positive", condition=Q(amount__gt=0, amount__lt=LIMIT)),
            models.CheckConstraint(name="transfer_between_two", condition=~Q(debit=F("credit"))),
        ]
        indexes = [
            models.Index(name="transfer_out_of", fields=["debit", "-id"]),
            models.Index(name="transfer_into", fields=["credit", "-id"]),
            models.Index(name="transfer_created", fields=["created_at"]),
            models.Index(name="transfer_ref", fields=["ref"], condition=~Q(ref="")),
            # The legs of a capture are found by their hold.
            models.Index(name="transfer_group", fields=["group"], condition=Q(hold=None) & ~Q(group="")),
        ]

    def __str__(self) -> str:
        return self.key


class Cap(Row, WrittenByServices):
    """Limit what an account and everybody below it may hold in one period, whoever pays.

    `used` counts all that was held in the period, less what was given back, whenever that was. `wanted` is
    the limit that was asked for; `limit` stays above it only while more than that is used already, and comes
    down with every release.
    """

    asset = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="+", db_index=False)
    owner_key = models.CharField(max_length=80)
    period = models.CharField(max_length=8, blank=True, default="", help_text="How often it begins anew.")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    wanted = models.BigIntegerField()
    limit = models.BigIntegerField()
    used = models.BigIntegerField(default=0)

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(name="cap_one_per_period", fields=["owner_key", "asset", "period", "starts_at"]),
            models.CheckConstraint(name="cap_period_in_order", condition=Q(ends_at__gt=F("starts_at"))),
            models.CheckConstraint(
                name="cap_not_exceeded", condition=Q(used__gte=0, used__lte=F("limit"), limit__lte=LIMIT)
            ),
            models.CheckConstraint(name="cap_not_below_wanted", condition=Q(wanted__gte=0, wanted__lte=F("limit"))),
        ]

    def __str__(self) -> str:
        return f"{self.owner_key} {self.asset_id} from {self.starts_at:%Y-%m-%d}"

    @property
    def left(self) -> int:
        return self.limit - self.used


class HoldCap(Row, WrittenByServices):
    """State that a hold counts in a cap: with `hold.amount - hold.released`, so it needs no amount of its own."""

    hold = models.ForeignKey(Hold, on_delete=models.PROTECT, related_name="hold_caps", db_index=False)
    cap = models.ForeignKey(Cap, on_delete=models.PROTECT, related_name="hold_caps")

    class Meta(Row.Meta):
        verbose_name = "hold in a cap"
        verbose_name_plural = "holds in caps"
        constraints = [models.UniqueConstraint(name="hold_cap_once", fields=["hold", "cap"])]

    def __str__(self) -> str:
        return f"{self.hold_id} in {self.cap_id}"


class BalanceSnapshot(Row, WrittenByServices):
    """Remember what the transfers created before a moment come to for a platform balance."""

    balance = models.ForeignKey(Balance, on_delete=models.PROTECT, related_name="snapshots", db_index=False)
    before = models.DateTimeField()
    posted = models.BigIntegerField()

    class Meta(Row.Meta):
        constraints = [models.UniqueConstraint(name="snapshot_once", fields=["balance", "before"])]

    def __str__(self) -> str:
        return f"{self.balance_id} before {self.before:%Y-%m-%d %H:%M}"


class TransferSeal(Row, WrittenByServices):
    """Fix the transfers created before a moment: how many there are since the seal before, and a digest.

    The digest runs on from the previous seal's, so no transfer under a seal can be changed, added or
    removed, even with the triggers off, without every later seal giving it away.
    """

    before = models.DateTimeField(unique=True)
    count = models.BigIntegerField()
    digest = models.CharField(max_length=64)
    # How many of each kind, by the first word of their keys: {"topup payment": 12}. None under seals of before.
    kinds = models.JSONField(null=True)

    def __str__(self) -> str:
        return f"{self.count} transfers before {self.before:%Y-%m-%d %H:%M}"


class CheckRun(Row, Lifecycle):
    """Keep what one check of the books found: `results` is a list of {number, title, seconds, problems}.

    While it runs, whoever runs it writes `done` and `updated_at` every second or so; silence means that it is no more.
    """

    TRANSITIONS: ClassVar[dict[str, set[str]]] = {
        CheckStatus.RUNNING: {CheckStatus.CLEAN, CheckStatus.BROKEN, CheckStatus.FAILED},
        CheckStatus.CLEAN: set(),
        CheckStatus.BROKEN: set(),
        CheckStatus.FAILED: set(),
    }
    # How long a run may say nothing: before a worker takes it, and from then on.
    NOT_TAKEN = timedelta(minutes=10)
    SILENT = timedelta(minutes=1)

    status = models.CharField(max_length=8, choices=CheckStatus, default=CheckStatus.RUNNING, editable=False)
    source = models.CharField(max_length=8, choices=CheckSource)
    asked_by = models.CharField(max_length=254, blank=True, default="")
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    done = models.PositiveSmallIntegerField(default=0)
    of = models.PositiveSmallIntegerField(default=0)
    doing = models.CharField(max_length=200, blank=True, default="")
    results = models.JSONField(default=list, blank=True)
    failure = models.CharField(max_length=500, blank=True, default="")

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(
                name="check_one_at_a_time", fields=["status"], condition=Q(status=CheckStatus.RUNNING)
            ),
            models.CheckConstraint(
                name="check_ended_has_a_moment",
                condition=Q(status=CheckStatus.RUNNING, ended_at=None)
                | (~Q(status=CheckStatus.RUNNING) & Q(ended_at__isnull=False)),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_status_display()}, {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def seconds(self) -> float | None:
        """Tell how long it took; None before its end, and where it never began."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()

    @property
    def broken(self) -> list[dict[str, Any]]:
        return [result for result in self.results if result["problems"]]

    def is_silent(self, *, now: datetime) -> bool:
        """Tell whether a running one has not been heard of for too long."""
        longest = self.SILENT if self.started_at is not None else self.NOT_TAKEN
        return self.status == CheckStatus.RUNNING and self.updated_at < now - longest

    def end(self, *, status: str, now: datetime, **fields: Any) -> bool:
        return self._move_to(status, by=None, now=now, ended_at=now, doing="", **fields)

    def _record_move(self, old: str, new: str, *, by: object | None, reason: str, now: datetime) -> None:
        """Leave no event: the row says it all, and nothing but the row changed."""
