from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import F, Q

from accounts.periods import period_of
from gaas.lib.rows import Row
from payments.choices import StatementKind
from payments.querysets import StatementQuerySet
from payments.statement_rows import balance_in_words


class Statement(Row):
    """Say what an account had, got and spent in one month of UTC, or its owner's GPUs earned, or the platform has.

    It is made once, when no transfer of the month can come any more, and never changed: transfers are immutable and
    charges are of the moment of theirs, so each of its lines can be listed again at any time. A month in which
    nothing moved has none. Statements of owners have sums of charges, micro-dollars but for `sold_ms` and `lent_ms`,
    and the minutes of their hosts.
    """

    kind = models.CharField(max_length=8, choices=StatementKind, editable=False)
    account = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="+", editable=False)
    month = models.DateField(editable=False, help_text="Its first day.")
    sold_ms = models.BigIntegerField(null=True, editable=False, help_text="GPU-milliseconds paid for with money.")
    lent_ms = models.BigIntegerField(null=True, editable=False, help_text="GPU-milliseconds lent to the quota.")
    charged = models.BigIntegerField(null=True, editable=False)
    fee = models.BigIntegerField(null=True, editable=False)
    owner_part = models.BigIntegerField(null=True, editable=False)
    from_loss = models.BigIntegerField(null=True, editable=False)
    up_minutes = models.BigIntegerField(null=True, editable=False, help_text="Of its hosts, where that is known.")
    counted_minutes = models.BigIntegerField(null=True, editable=False, help_text="In which they were to be up.")

    objects = StatementQuerySet.as_manager()

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(fields=["account", "kind", "month"], name="statement_once_a_month"),
            models.CheckConstraint(
                name="statement_of_owner_adds_up",
                condition=Q(charged__isnull=True) | Q(charged=F("fee") + F("owner_part")),
            ),
        ]
        indexes = [models.Index(fields=["kind", "month"], name="statement_by_month")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}, {self.month:%B %Y}: {self.account}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("A statement is made once and never changed.")
        super().save(*args, **kwargs)

    @property
    def begin(self) -> datetime:
        """Give the first moment of the month."""
        return month_of(self.month)[0]

    @property
    def end(self) -> datetime:
        """Give the first moment after the month."""
        return month_of(self.month)[1]

    @property
    def last_day(self) -> date:
        return (self.end - timedelta(days=1)).date()

    @property
    def file_name(self) -> str:
        return f"statement-{self.month:%Y-%m}-{self.kind}-{self.account_id}"


class StatementBalance(Row):
    """Say what one balance had at the beginning and the end of a month, and what came and went between.

    All are integers of the asset. `held` is what was promised to open holds at the end, as was known when the
    statement was made: of a hold only what was captured has a moment. In the platform's books a row is the sum of
    all balances of one kind, and has none.
    """

    statement = models.ForeignKey(Statement, on_delete=models.CASCADE, related_name="balances", db_index=False)
    balance = models.ForeignKey("ledger.Balance", on_delete=models.PROTECT, null=True, related_name="+")
    asset = models.ForeignKey("ledger.Asset", on_delete=models.PROTECT, related_name="+", db_index=False)
    kind = models.CharField(max_length=40)
    opening = models.BigIntegerField()
    came = models.BigIntegerField()
    went = models.BigIntegerField()
    closing = models.BigIntegerField()
    held = models.BigIntegerField(null=True)
    arrivals = models.BigIntegerField(help_text="How many transfers came in.")
    departures = models.BigIntegerField(help_text="How many went out.")

    class Meta(Row.Meta):
        ordering = ["asset_id", "kind"]
        constraints = [
            models.UniqueConstraint(fields=["statement", "asset", "kind"], name="statement_balance_once"),
            models.CheckConstraint(
                name="statement_balance_adds_up", condition=Q(closing=F("opening") + F("came") - F("went"))
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} ({self.asset_id})"

    @property
    def name(self) -> str:
        """Name the balance for people."""
        return balance_in_words(self.kind)

    @property
    def unit(self) -> str:
        return "GPU-hours" if self.asset_id == "GPU" else str(self.asset_id)


def month_of(day: date) -> tuple[datetime, datetime]:
    """Give the first moment of a day's month in UTC, and of the next month."""
    return period_of("month", datetime(day.year, day.month, 1, tzinfo=UTC))
