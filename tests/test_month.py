"""A small month: few accounts, few tasks, everything else as in `make bench-month`."""

from __future__ import annotations

from datetime import timedelta

import pytest

from accounts.ledger import check
from accounts.ledger.models import Hold
from bench.month_life import Month
from gaas.lib import clock
from payments.models import Charge
from payments.providers import PROVIDERS


@pytest.mark.django_db
def test_a_small_month_adds_up(monkeypatch):
    monkeypatch.setitem(PROVIDERS, "stripe", None)  # and taken away again at the end
    ahead = timedelta(0)

    def wait(seconds: float) -> None:
        nonlocal ahead
        ahead += timedelta(seconds=seconds)

    month = Month(accounts=10, owners=3, tasks=120, days=16, slots=2, now=lambda: clock.now() + ahead, wait=wait)
    month.live()
    assert [f"{result.number}: {problem}" for result in check.run() for problem in result.problems] == []
    charges = Charge.objects.all()
    assert all(row.fee + row.owner_part == row.charge for row in charges)
    assert {"wallet", "quota"} == {row.funding for row in charges}
    assert not Hold.objects.open().filter(purpose="task").exists()
    # It did something of everything, or the sums above say little.
    for what in (
        "SUCCEEDED",
        "FAILED",
        "CANCELLED",
        "TIMED_OUT",
        "payments",
        "refunds",
        "disputes",
        "periods",
        "payouts",
    ):
        assert month.did[what], (what, month.did)
