"""What those above an account ask of it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from accounts.choices import CapPeriod
from gaas.audit.history import kept_history
from gaas.lib.amounts import show_hours, show_micro
from gaas.lib.rows import Row

ASSETS = {"GPU": "Hours", "USD": "Money"}


class Limit(Row):
    """Hold an amount of one asset, in GPU-milliseconds or micro-dollars."""

    asset = models.CharField(max_length=3, choices=ASSETS)

    class Meta(Row.Meta):
        abstract = True

    def show(self, amount: int) -> str:
        return f"{show_hours(amount)} h" if self.asset == "GPU" else f"{show_micro(amount)} USD"


class CapRule(Limit):
    """Bound what an account and everybody below it may hold in each period, whoever pays.

    The ledger has one Cap for each period in which something was held (accounts/services/caps.py).
    """

    account = models.ForeignKey("accounts.Account", on_delete=models.CASCADE, related_name="cap_rules")
    period = models.CharField(max_length=5, choices=CapPeriod)
    limit = models.BigIntegerField()

    history = kept_history()

    class Meta(Limit.Meta):
        verbose_name = "cap"
        constraints = [
            models.UniqueConstraint(fields=["account", "asset", "period"], name="cap_rule_once"),
            models.CheckConstraint(condition=Q(limit__gte=0), name="cap_rule_not_negative"),
        ]

    def __str__(self) -> str:
        return (
            f"{self.show(self.limit)} a {self.period}" if self.period != "total" else f"{self.show(self.limit)} in all"
        )


class ApprovalThreshold(Limit):
    """Have a manager of the parent approve each task of an account and everybody below it that holds more than `above`.

    A root has no parent: there its own managers do.
    """

    account = models.ForeignKey("accounts.Account", on_delete=models.CASCADE, related_name="approval_thresholds")
    above = models.BigIntegerField()

    history = kept_history()

    class Meta(Limit.Meta):
        verbose_name = "approval threshold"
        constraints = [
            models.UniqueConstraint(fields=["account", "asset"], name="approval_threshold_once"),
            models.CheckConstraint(condition=Q(above__gte=0), name="approval_threshold_not_negative"),
        ]

    def __str__(self) -> str:
        return f"a manager approves above {self.show(self.above)}"
