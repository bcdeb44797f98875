"""The page of what an account and all below it used: a table, a bar for each row, the same as a CSV."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from accounts.choices import Role
from accounts.pages.of_account import OfAccount
from accounts.periods import period_of
from gaas.lib import clock
from payments.services.reports import UsageAsked, usage_rows, usage_totals

# Rows of the table; the CSV has all.
MOST = 100
GROUPS = {
    "subtree": "Account below",
    "user": "Person",
    "gpu": "GPU",
    "kind": "Kind of task",
    "cost_code": "Cost code",
    "funding": "Paid from",
    "month": "Month",
}
PERIODS = {"this": "This month", "last": "Last month", "quarter": "Three months", "year": "Twelve months"}
_MONTHS_BACK = {"this": 0, "last": 1, "quarter": 2, "year": 11}
NAMES = {"subtree": "subtree_name", "user": "user_name", "gpu": "gpu_model"}
# What stands where a charge says nothing.
NOTHING = {"cost_code": "No cost code"}


class Reports(OfAccount):
    """Show who manages an account what it and all below it used, and others in it what they ran themselves."""

    template_name = "payments/reports.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        period = self._chosen("period", PERIODS, "this")
        group = self._chosen("by", GROUPS, "subtree")
        begin, end = months(period, clock.now())
        asked = UsageAsked(begin=begin, end=end, group_by=(group,), account=self.account)
        rows = self._rows(asked, group)
        query = {"format": "csv", "account": self.account.pk, "group_by": group}
        query |= {"from": f"{begin:%Y-%m-%d}", "to": f"{end:%Y-%m-%d}"}
        return super().get_context_data(
            rows=rows[:MOST],
            has_more=len(rows) > MOST,
            most=MOST,
            totals=usage_totals(asked, by=self.request.user),
            begin=begin,
            last=end - timedelta(days=1),
            group=group,
            group_label=GROUPS[group],
            groups=GROUPS,
            period=period,
            periods=PERIODS,
            sees_all=self._sees_all,
            csv=f"{reverse('report-usage', kwargs={'version': 'v1'})}?{urlencode(query)}",
            **kwargs,
        )

    @property
    def _sees_all(self) -> bool:
        is_manager = self.role is not None and self.role >= Role.MANAGER
        return is_manager or self.request.user.has_perm("payments.view_charge")

    def _chosen(self, name: str, known: dict[str, str], default: str) -> str:
        chosen = self.request.GET.get(name, default)
        return chosen if chosen in known else default

    def _rows(self, asked: UsageAsked, group: str) -> list[dict[str, Any]]:
        order = ("month",) if group == "month" else ("-paid", "-ms")
        rows = list(usage_rows(asked, by=self.request.user, order=order, most=MOST + 1))
        # Bars are of money where any was paid, else of hours: one scale for all.
        figure = "paid" if any(row["paid"] for row in rows) else "ms"
        top = max((row[figure] for row in rows), default=0)
        for row in rows:
            row["label"] = row[NAMES.get(group, group)] or NOTHING.get(group, row[group])
            row["width"] = row[figure] * 100 // top if top else 0
        return rows


def months(period: str, now: datetime) -> tuple[datetime, datetime]:
    """Give the first moment of a period of whole months in UTC, and of what comes after it."""
    begin, end = period_of("month", now)
    for _ in range(_MONTHS_BACK[period]):
        begin = period_of("month", begin - timedelta(days=1))[0]
    return begin, period_of("month", begin)[1] if period == "last" else end
