from __future__ import annotations

from django.db import models

from gaas.lib.rows import Row


class BudgetAlert(Row):
    """Note that people were told how much of a budget is used; `key` names budget, period and share.

    The key is unique, so that of many sweeps one tells.
    """

    account = models.ForeignKey("accounts.Account", on_delete=models.CASCADE, related_name="budget_alerts")
    key = models.CharField(max_length=120, unique=True)
    percent = models.PositiveSmallIntegerField()
    detail = models.CharField(max_length=300)

    class Meta(Row.Meta):
        verbose_name = "budget alert"

    def __str__(self) -> str:
        return self.detail
