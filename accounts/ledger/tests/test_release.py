import pytest

from accounts.ledger.models import Transfer
from accounts.ledger.services import (
    HoldClosed,
    HoldExceeded,
    InvalidAmount,
    Leg,
    capture,
    expire,
    freeze,
    hold,
    release,
)
from accounts.ledger.tests.conftest import state_of
from gaas.lib.clock import now

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


@pytest.fixture
def made(hours):
    return hold(balance=hours, amount=60, key="task:1", purpose="task", expires_at=now())


class TestRelease:
    def test_it_gives_all_back_and_closes(self, made, hours):
        closed = release(hold_id=made.pk)
        assert (closed.state, closed.released, closed.open_amount) == ("released", 60, 0)
        assert closed.closed_at is not None
        assert state_of(hours) == (100, 0)

    def test_a_part_leaves_it_open(self, made, hours):
        after = release(hold_id=made.pk, amount=25)
        assert (after.state, after.open_amount) == ("open", 35)
        assert state_of(hours) == (100, 35)

    def test_even_all_as_a_part_leaves_it_open(self, made, hours):
        assert release(hold_id=made.pk, amount=60).is_open
        assert state_of(hours) == (100, 0)
        assert not release(hold_id=made.pk).is_open

    def test_to_close_it_twice_is_to_close_it_once(self, made, hours):
        release(hold_id=made.pk)
        assert release(hold_id=made.pk).state == "released"
        assert state_of(hours) == (100, 0)

    def test_more_than_is_open_is_refused(self, made):
        release(hold_id=made.pk, amount=50)
        with pytest.raises(HoldExceeded):
            release(hold_id=made.pk, amount=11)

    @pytest.mark.parametrize("amount", [0, -1, 2**63, True, "1"])
    def test_case_08_an_amount_that_is_none_is_refused(self, made, amount):
        with pytest.raises(InvalidAmount):
            release(hold_id=made.pk, amount=amount)

    def test_a_captured_or_expired_hold_is_refused(self, made, used, hours):
        other = hold(balance=hours, amount=10, key="task:2", purpose="task")
        capture(hold_id=other.pk, legs=[Leg(credit=used, amount=1, kind="usage", key="u")], final=True)
        expire(hold_id=made.pk, now=now())
        for closed in (made, other):
            with pytest.raises(HoldClosed):
                release(hold_id=closed.pk)

    def test_case_02_the_second_of_capture_and_release_is_refused(self, made, used, hours):
        release(hold_id=made.pk)
        with pytest.raises(HoldClosed):
            capture(hold_id=made.pk, legs=[Leg(credit=used, amount=1, kind="usage", key="u")], final=True)
        assert state_of(hours) == (100, 0)

    def test_case_04_a_capture_of_nothing_is_a_release(self, made, hours):
        for _ in range(2):
            assert capture(hold_id=made.pk, legs=[], final=True) == []
        made.refresh_from_db()
        assert made.state == "released"
        assert state_of(hours) == (100, 0)
        assert not Transfer.objects.filter(hold=made).exists()

    def test_case_10_a_frozen_balance_gets_its_promise_back(self, made, hours):
        freeze(balance=hours, incoming=True, outgoing=True)
        release(hold_id=made.pk)
        assert state_of(hours) == (100, 0)


class TestExpire:
    def test_it_closes_a_hold_whose_time_has_run_out(self, made, hours):
        assert expire(hold_id=made.pk, now=now()) is True
        made.refresh_from_db()
        assert made.state == "expired"
        assert state_of(hours) == (100, 0)

    def test_it_leaves_one_with_time_left_or_without_end(self, made, hours):
        endless = hold(balance=hours, amount=1, key="task:2", purpose="task")
        assert expire(hold_id=made.pk, now=made.expires_at.replace(year=2000)) is False
        assert expire(hold_id=endless.pk, now=now()) is False
        assert state_of(hours) == (100, 61)

    def test_it_comes_twice_for_nothing(self, made, hours):
        expire(hold_id=made.pk, now=now())
        assert expire(hold_id=made.pk, now=now()) is False
        assert state_of(hours) == (100, 0)

    def test_case_12_a_capture_after_the_sweep_is_refused(self, made, used):
        expire(hold_id=made.pk, now=now())
        with pytest.raises(HoldClosed, match="expired"):
            capture(hold_id=made.pk, legs=[Leg(credit=used, amount=1, kind="usage", key="u")], final=True)

    def test_due_holds_are_found(self, made, hours):
        hold(balance=hours, amount=1, key="task:2", purpose="task")
        assert list(type(made).objects.due(now=now())) == [made]
