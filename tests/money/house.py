"""A lab, its desk and an owner of GPUs whose money is driven by random steps, beside a model of it.

After every step what is stored is what the model says, and the project's own check of the books finds nothing. What
is refused must leave everything as it was.
"""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.db import transaction
from django.db.models import Sum
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from accounts.ledger import check
from accounts.ledger.models import Balance, Transfer
from bench.month_life import Month
from gaas.lib import clock
from gaas.lib.errors import DomainError
from payments.models import Contract, ContractPeriod, Payment, Payout
from tests.money.model import HOUR, USD, Books

picks = st.integers(0, 100)
Draw = Callable[[st.SearchStrategy[Any]], Any]
# How often each of them does something, beside the others. All by one rule: Hypothesis leaves out half of many rules
# in each run, and with few runs a task would hardly ever come to its end.
STEPS = {
    "submit": 4,
    "go_on": 3,
    "end_one": 4,
    "pay_out": 3,
    "refund": 3,
    "dispute": 2,
    "top_up": 1,
    "keep_house": 2,
    "pass_time": 2,
    "steer": 2,
}


class House(RuleBasedStateMachine):
    """Hold the people, the clock and the model; what they do is in the classes beside this."""

    month: ClassVar[Month]  # made once, before any run; each run takes back what it did
    ahead_at_first: ClassVar[timedelta]

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.block = transaction.atomic()
        self.block.__enter__()
        self.ahead = self.ahead_at_first
        # The same run again draws the same.
        self.month.draw = random.Random(7)
        self.month.now, self.month.wait = self.now, self.wait
        self.payer, self.owner = self.month.payers[0], copy.copy(self.month.owners[0])
        self.root, self.second = self.month.root, self.month.second
        self.price = self.owner["host"].gpus.first().price_per_hour
        self.accounts = {
            "lab": self.payer["account"],
            "desk": self.payer["child"],
            "owner": self.owner["account"],
        }
        self.keys = {account.owner_key: name for name, account in self.accounts.items()}
        self.books = Books()
        self.books.has.update(
            {"lab wallet": 450 * USD, "desk wallet": 50 * USD, "lab hours": 200 * HOUR, "owner hours": 10 * HOUR}
        )
        # What the people of before have been given is no part of this; from here on each number follows the model.
        self.books.has.update(self.of_platform())
        self.began = True
        self.agree(data)
        self.pay_in()
        # So long that the owner has something to take out.
        self.pass_days(9)
        self.mature()

    def agree(self, data: st.DataObject) -> None:
        """Make the contracts."""

    def pay_in(self) -> None:
        """Make the first payments known to the model."""

    def pass_days(self, days: int) -> None:
        self.wait(days * 86_400)

    def mature(self) -> None:
        """Let earnings mature."""

    @rule(what=st.sampled_from([name for name, often in STEPS.items() for _ in range(often)]), data=st.data())
    def step(self, what: str, data: st.DataObject) -> None:
        getattr(self, what)(data.draw)

    def teardown(self) -> None:
        if hasattr(self, "block"):
            transaction.set_rollback(True)
            self.block.__exit__(None, None, None)

    def now(self) -> datetime:
        return clock.now() + self.ahead

    def wait(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)

    def goes(self, verb: Callable[..., Any], *about: Any, **named: Any) -> Any:
        """Do it and give what it gave; None where it was refused, which must not have changed anything."""
        try:
            return verb(*about, **named) or True
        except DomainError:
            return None

    def pick(self, rows: list[Any], number: int) -> Any:
        return rows[number % len(rows)] if rows else None

    def of_platform(self) -> Counter[str]:
        """Add up the platform's own balances from all transfers."""
        sums: Counter[str] = Counter()
        for side, sign in (("credit", 1), ("debit", -1)):
            lazy = Transfer.objects.filter(**{f"{side}__posted": None}).order_by()
            for kind, amount in lazy.values_list(f"{side}__kind").annotate(Sum("amount")):
                sums[kind] += sign * int(amount)
        return sums

    # --- what holds at all times ----------------------------------------------------------------------------
    @invariant()
    def model_and_books_agree(self) -> None:
        if not hasattr(self, "began"):
            return
        stored, held = self.of_platform(), Counter()
        for balance in Balance.objects.filter(owner_key__in=self.keys):
            name = f"{self.keys[balance.owner_key]} {balance.kind}"
            stored[name], held[name] = balance.posted, balance.held
        assert _some(stored) == _some(self.books.has)
        assert _some(held) == _some(self.books.held)
        assert all(
            amount >= 0 for name, amount in self.books.has.items() if name.partition(" ")[2] in ("wallet", "hours")
        )

    @invariant()
    def rows_and_model_agree(self) -> None:
        if not hasattr(self, "began"):
            return
        columns = ("received", "refunded", "refunding", "disputed")
        stored = {pk: sums for pk, *sums in Payment.objects.values_list("pk", *columns)}
        assert stored == {paid.pk: paid.sums for paid in self.payments}
        assert dict(Payout.objects.values_list("pk", "status")) == {out.pk: out.status for out in self.payouts}
        kept = {pk: rest for pk, *rest in Contract.objects.values_list("pk", "status", "next_no", "stop_no")}
        assert kept == {deal.pk: [deal.status, deal.next_no, deal.stop_no] for deal in self.deals}
        paid: dict[Any, list[bool]] = {deal.pk: [] for deal in self.deals}
        for pk, status in ContractPeriod.objects.order_by("no").values_list("contract", "status"):
            paid[pk].append(status == "PAID")
        assert paid == {deal.pk: deal.paid for deal in self.deals}

    @invariant()
    def books_are_sound(self) -> None:
        if hasattr(self, "began"):
            problems = [f"{result.number}: {problem}" for result in check.run() for problem in result.problems]
            assert problems == [], problems


def _some(numbers: Counter[str]) -> dict[str, int]:
    return {name: number for name, number in numbers.items() if number}
