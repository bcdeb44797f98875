"""Two at once, by threads with connections of their own on PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from accounts.ledger.models import Balance, Cap, Hold, Transfer
from accounts.ledger.services import (
    BalanceFrozen,
    CapExceeded,
    HoldClosed,
    InsufficientBalance,
    Leg,
    NotReversible,
    capture,
    close,
    expire,
    extend,
    hold,
    open_balance,
    open_cap,
    platform_balance,
    release,
    reverse,
    transfer,
)
from accounts.ledger.tests.conftest import race, state_of
from gaas.lib.clock import now

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("postgresql", "sound_books")]


def won(outcomes):
    return [outcome for outcome in outcomes if not isinstance(outcome, Exception)]


def lost(outcomes):
    return [type(outcome) for outcome in outcomes if isinstance(outcome, Exception)]


class TestRaces:
    def test_case_01_two_holds_race_for_the_last_unit(self, hours):
        hold(balance=hours, amount=99, key="most", purpose="task")
        for turn in range(20):
            outcomes = race(
                *(partial(hold, balance=hours, amount=1, key=f"{turn}:{n}", purpose="task") for n in (1, 2))
            )
            assert lost(outcomes) == [InsufficientBalance]
            release(hold_id=won(outcomes)[0].pk)
        assert state_of(hours) == (100, 99)

    def test_sixteen_holds_race_for_ten_units(self, funded):
        ten = funded("bob", 10)
        outcomes = race(*(partial(hold, balance=ten, amount=1, key=f"h:{n}", purpose="task") for n in range(16)))
        assert lost(outcomes) == [InsufficientBalance] * 6
        assert state_of(ten) == (10, 10)

    def test_sixteen_with_one_key_make_one_hold(self, hours):
        outcomes = race(*[partial(hold, balance=hours, amount=60, key="same", purpose="task")] * 16)
        assert lost(outcomes) == []
        assert len({outcome.pk for outcome in outcomes}) == 1
        assert state_of(hours) == (100, 60)

    def test_sixteen_with_one_key_make_one_transfer(self, hours, used):
        outcomes = race(*[partial(transfer, key="same", kind="k", debit=hours, credit=used, amount=60)] * 16)
        assert lost(outcomes) == []
        assert len({outcome.pk for outcome in outcomes}) == 1
        assert state_of(hours) == (40, 0)

    def test_eight_open_one_balance(self):
        calls = [partial(open_balance, asset="GPU", kind="hours", owner_key="acct:new")] * 8
        assert len({outcome.pk for outcome in race(*calls)}) == 1
        assert len({outcome.pk for outcome in race(*[partial(platform_balance, asset="GPU", kind="new")] * 8)}) == 1

    def test_case_02_capture_against_release(self, hours, used):
        for turn in range(20):
            made = hold(balance=hours, amount=2, key=f"h:{turn}", purpose="task")
            leg = Leg(credit=used, amount=1, kind="usage", key=f"u:{turn}")
            outcomes = race(
                partial(capture, hold_id=made.pk, legs=[leg], final=True), partial(release, hold_id=made.pk)
            )
            assert lost(outcomes) == [HoldClosed]
            assert Hold.objects.get(pk=made.pk).captured == Transfer.objects.filter(hold=made).count()

    def test_case_02_eight_captures_pay_once(self, hours, used):
        made = hold(balance=hours, amount=60, key="h", purpose="task")
        leg = Leg(credit=used, amount=50, kind="usage", key="u")
        assert lost(race(*[partial(capture, hold_id=made.pk, legs=[leg], final=True)] * 8)) == []
        legs = [Leg(credit=used, amount=1, kind="usage", key=f"other:{n}") for n in range(4)]
        assert (
            lost(race(*(partial(capture, hold_id=made.pk, legs=[leg], final=True) for leg in legs))) == [HoldClosed] * 4
        )
        assert (state_of(hours), used.total()) == ((50, 0), 50)

    def test_case_12_the_sweep_expires_a_hold_while_the_task_captures(self, hours, used):
        for turn in range(20):
            made = hold(balance=hours, amount=2, key=f"h:{turn}", purpose="task", expires_at=now())
            leg = Leg(credit=used, amount=1, kind="usage", key=f"u:{turn}")
            captured, expired = race(
                partial(capture, hold_id=made.pk, legs=[leg], final=True),
                partial(expire, hold_id=made.pk, now=now()),
            )
            assert isinstance(captured, HoldClosed) if expired else len(captured) == 1

    def test_case_05_a_to_b_with_b_to_a_a_thousand_times(self, funded):
        alice, bob = funded("alice", 1000), funded("bob", 1000)

        def shuttle(name, debit, credit):
            for turn in range(250):
                transfer(key=f"{name}:{turn}", kind="k", debit=debit, credit=credit, amount=1)

        calls = [partial(shuttle, f"{n}", *pair) for n, pair in enumerate([(alice, bob), (bob, alice)] * 2)]
        assert lost(race(*calls)) == []
        assert (state_of(alice), state_of(bob)) == ((1000, 0), (1000, 0))
        assert Transfer.objects.count() == 1002

    def test_case_05_captures_that_pay_each_other(self, funded):
        alice, bob = funded("alice", 1000), funded("bob", 1000)

        def settle(name, payer, payee):
            for turn in range(50):
                made = hold(balance=payer, amount=2, key=f"{name}:{turn}", purpose="task")
                leg = Leg(credit=payee, amount=1, kind="k", key=f"{name}:{turn}")
                capture(hold_id=made.pk, legs=[leg], final=True)

        calls = [partial(settle, f"{n}", *pair) for n, pair in enumerate([(alice, bob), (bob, alice)] * 2)]
        assert lost(race(*calls)) == []
        assert (state_of(alice), state_of(bob)) == ((1000, 0), (1000, 0))

    def test_case_14_two_reversals_at_once(self, hours, funded):
        bob = funded("bob", 50)
        made = transfer(key="t", kind="k", debit=hours, credit=bob, amount=30)
        outcomes = race(*(partial(reverse, transfer_id=made.pk, key=f"back:{n}") for n in range(6)))
        assert lost(outcomes) == [NotReversible] * 5
        assert state_of(hours) == (100, 0)

    def test_extensions_race_for_what_is_left(self, hours):
        made = hold(balance=hours, amount=90, key="h", purpose="task")
        outcomes = race(*[partial(extend, hold_id=made.pk, amount=3)] * 8)
        assert lost(outcomes) == [InsufficientBalance] * 5
        assert state_of(hours) == (100, 99)

    def test_a_cap_is_reached_by_two_at_once(self, hours):
        start = datetime(2026, 5, 1, tzinfo=UTC)
        caps = [
            open_cap(asset="GPU", owner_key=f"acct:{n}", starts_at=start, ends_at=start + timedelta(days=31), limit=10)
            for n in range(3)
        ]
        outcomes = race(
            *(
                partial(hold, balance=hours, amount=4, key=f"h:{n}", purpose="task", caps=caps[:: 1 if n % 2 else -1])
                for n in range(8)
            )
        )
        assert lost(outcomes) == [CapExceeded] * 6
        assert set(Cap.objects.values_list("used", flat=True)) == {8}

    def test_a_balance_is_closed_while_something_comes_in(self, hours, funded):
        for turn in range(10):
            empty = funded(f"empty{turn}", 0)
            closed, moved = race(
                partial(close, balance=empty),
                partial(transfer, key=f"t:{turn}", kind="k", debit=hours, credit=empty, amount=1),
            )
            is_closed = Balance.objects.get(pk=empty.pk).closed_at is not None
            assert isinstance(moved, BalanceFrozen) is is_closed
            assert isinstance(closed, BalanceFrozen) is not is_closed
