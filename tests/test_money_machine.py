"""Payments, tasks, shares, caps, contracts and payouts by random steps, beside a model in plain Python.

tests/money/model.py keeps what every balance has and promises, which periods of which contracts are paid, and how
payments and payouts stand; paying.py, working.py and agreeing.py do the steps. After every one the rows say what the
model says, and every invariant of the books holds. `MONEY_MACHINE=long` drives it for a long while, MONEY_EXAMPLES says
for how many runs.
"""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from bench.month_life import Month
from gaas.lib import clock
from payments.providers import PROVIDERS
from tests.money.house import House
from tests.money.working import Working

LONG = os.environ.get("MONEY_MACHINE") == "long"
EXAMPLES = int(os.environ.get("MONEY_EXAMPLES", "300" if LONG else "10"))


@pytest.mark.django_db
def test_money_of_all_kinds_by_random_steps(monkeypatch, settings):
    monkeypatch.setitem(PROVIDERS, "stripe", None)  # and taken away again at the end
    settings.PAYOUT_FEE_USD = "0.25"
    ahead = timedelta(0)

    def wait(seconds: float) -> None:
        nonlocal ahead
        ahead += timedelta(seconds=seconds)

    House.month = Month(accounts=1, owners=1, tasks=0, now=lambda: clock.now() + ahead, wait=wait)
    House.ahead_at_first = ahead
    drive()


def drive() -> None:
    run_state_machine_as_test(
        Working,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=60 if LONG else 40,
            deadline=None,
            derandomize=not LONG,
            # To make a failure small takes minutes; the long form has them.
            phases=list(Phase) if LONG else [Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
