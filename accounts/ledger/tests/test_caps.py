from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, transaction

from accounts.ledger.models import Cap, HoldCap
from accounts.ledger.services import (
    CapExceeded,
    InvalidAmount,
    Leg,
    capture,
    expire,
    extend,
    hold,
    open_cap,
    release,
    set_limit,
    tighten,
)
from accounts.ledger.tests.conftest import state_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

MAY, JUNE, JULY = (datetime(2026, month, 1, tzinfo=UTC) for month in (5, 6, 7))


@pytest.fixture
def may(db):
    return open_cap(asset="GPU", owner_key="acct:child", starts_at=MAY, ends_at=JUNE, limit=50)


@pytest.fixture
def june(db):
    return open_cap(asset="GPU", owner_key="acct:child", starts_at=JUNE, ends_at=JULY, limit=50)


def used_of(cap):
    return Cap.objects.get(pk=cap.pk).used


class TestCap:
    def test_it_counts_holds_up_to_its_limit(self, may, hours):
        hold(balance=hours, amount=30, key="a", purpose="task", caps=[may])
        hold(balance=hours, amount=20, key="b", purpose="task", caps=[may])
        with pytest.raises(CapExceeded) as refused:
            hold(balance=hours, amount=1, key="c", purpose="task", caps=[may])
        assert (refused.value.needed, refused.value.left, refused.value.owner_key) == (1, 0, "acct:child")
        assert (used_of(may), state_of(hours)) == (50, (100, 50))

    def test_every_cap_of_a_hold_must_have_room(self, may, hours):
        team = open_cap(asset="GPU", owner_key="acct:team", starts_at=MAY, ends_at=JUNE, limit=10)
        with pytest.raises(CapExceeded):
            hold(balance=hours, amount=11, key="a", purpose="task", caps=[may, team])
        assert (used_of(may), used_of(team), state_of(hours)) == (0, 0, (100, 0))
        hold(balance=hours, amount=10, key="a", purpose="task", caps=[may, team, may])
        assert (used_of(may), used_of(team)) == (10, 10)

    def test_a_release_gives_back_to_the_period_in_which_the_hold_was_made(self, may, june, hours):
        old = hold(balance=hours, amount=30, key="a", purpose="task", caps=[may])
        hold(balance=hours, amount=5, key="b", purpose="task", caps=[june])
        release(hold_id=old.pk, amount=10)
        assert (used_of(may), used_of(june)) == (20, 5)
        release(hold_id=old.pk)
        release(hold_id=old.pk)
        assert (used_of(may), used_of(june)) == (0, 5)

    def test_an_expired_hold_gives_back(self, may, hours):
        old = hold(balance=hours, amount=30, key="a", purpose="task", caps=[may], expires_at=MAY)
        expire(hold_id=old.pk, now=JUNE)
        assert used_of(may) == 0

    def test_what_is_captured_stays_used(self, may, hours, used):
        old = hold(balance=hours, amount=30, key="a", purpose="task", caps=[may])
        capture(hold_id=old.pk, legs=[Leg(credit=used, amount=12, kind="usage", key="u")], final=True)
        assert used_of(may) == 12

    def test_an_extension_counts_too(self, may, hours):
        old = hold(balance=hours, amount=30, key="a", purpose="task", caps=[may])
        extend(hold_id=old.pk, amount=20)
        with pytest.raises(CapExceeded):
            extend(hold_id=old.pk, amount=1)
        assert used_of(may) == 50
        old.refresh_from_db()
        assert old.amount == 50

    def test_a_replayed_hold_counts_once(self, may, hours):
        for _ in range(2):
            hold(balance=hours, amount=30, key="a", purpose="task", caps=[may])
        assert used_of(may) == 30
        assert HoldCap.objects.count() == 1


class TestTighten:
    @pytest.fixture
    def now_cap(self, db):
        return open_cap(
            asset="GPU",
            owner_key="acct:child",
            starts_at=MAY.replace(year=2000),
            ends_at=MAY.replace(year=2999),
            limit=90,
        )

    def promise(self, hours, amount, key, caps=(), spender="acct:child"):
        return hold(balance=hours, amount=amount, key=key, purpose="task", caps=caps, spender=spender)

    def test_what_was_held_before_counts_once(self, now_cap, hours):
        self.promise(hours, 20, "before")
        self.promise(hours, 10, "counted", caps=[now_cap])
        self.promise(hours, 5, "of another", spender="acct:other")
        for _ in range(2):
            cap = tighten(cap=now_cap, limit=50, spenders=["acct:child"])
            assert (cap.used, cap.limit, cap.wanted) == (30, 50, 50)

    def test_money_does_not_count_in_hours(self, now_cap, wallet):
        self.promise(wallet, 20, "money")
        assert tighten(cap=now_cap, limit=50, spenders=["acct:child"]).used == 0

    def test_what_is_outside_of_the_period_does_not_count(self, hours):
        old, older = MAY.replace(year=2001), MAY.replace(year=2000)
        past = open_cap(asset="GPU", owner_key="acct:child", starts_at=older, ends_at=old, limit=50)
        self.promise(hours, 20, "today")
        assert tighten(cap=past, limit=10, spenders=["acct:child"]).used == 0

    def test_below_what_is_used_it_comes_down_with_each_release(self, now_cap, hours, used):
        first = self.promise(hours, 30, "a", caps=[now_cap])
        second = self.promise(hours, 30, "b", caps=[now_cap])
        assert tighten(cap=now_cap, limit=40).limit == 60
        with pytest.raises(CapExceeded):
            self.promise(hours, 1, "c", caps=[now_cap])
        release(hold_id=first.pk, amount=5)
        assert Cap.objects.get(pk=now_cap.pk).limit == 55
        capture(hold_id=second.pk, legs=[Leg(credit=used, amount=20, kind="usage", key="u")], final=True)
        release(hold_id=first.pk)
        cap = Cap.objects.get(pk=now_cap.pk)
        assert (cap.used, cap.limit, cap.left) == (20, 40, 20)

    def test_day_and_month_may_begin_together(self, may):
        day = open_cap(asset="GPU", owner_key="acct:child", period="day", starts_at=MAY, ends_at=JUNE, limit=5)
        assert day != may

    @pytest.mark.parametrize("limit", [-1, 2**63, True])
    def test_a_limit_that_is_none_is_refused(self, may, limit):
        with pytest.raises(InvalidAmount):
            tighten(cap=may, limit=limit)


class TestLimit:
    def test_there_is_one_cap_a_period(self, may):
        again = open_cap(asset="GPU", owner_key="acct:child", starts_at=MAY, ends_at=JUNE, limit=7)
        assert (again, again.limit) == (may, 50)

    def test_it_goes_up_and_down_to_what_is_used(self, may, hours):
        hold(balance=hours, amount=30, key="a", purpose="task", caps=[may])
        assert set_limit(cap=may, limit=80).left == 50
        assert set_limit(cap=may, limit=30).left == 0
        with pytest.raises(InvalidAmount, match="used"):
            set_limit(cap=may, limit=29)

    @pytest.mark.parametrize("limit", [-1, 2**63, True, "5"])
    def test_a_limit_that_is_none_is_refused(self, may, limit):
        with pytest.raises(InvalidAmount):
            set_limit(cap=may, limit=limit)

    @pytest.mark.parametrize("change", [{"used": 51}, {"used": -1}, {"ends_at": MAY}])
    def test_the_database_refuses_a_wrong_cap(self, may, change):
        with pytest.raises(IntegrityError), transaction.atomic():
            Cap.objects.filter(pk=may.pk).update(**change)
