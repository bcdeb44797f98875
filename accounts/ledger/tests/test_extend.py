import pytest

from accounts.ledger.choices import LIMIT
from accounts.ledger.services import (
    BalanceFrozen,
    HoldClosed,
    InsufficientBalance,
    InvalidAmount,
    extend,
    freeze,
    hold,
    open_balance,
    release,
)
from accounts.ledger.tests.conftest import state_of
from gaas.lib.errors import NotFound
from gaas.lib.ids import uuid7

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


@pytest.fixture
def made(hours):
    return hold(balance=hours, amount=60, key="task:1", purpose="task")


class TestExtend:
    def test_it_promises_more_under_the_same_hold(self, made, hours):
        extended = extend(hold_id=made.pk, amount=40)
        assert (extended.amount, extended.opened_with) == (100, 60)
        assert state_of(hours) == (100, 100)

    def test_it_refuses_more_than_is_available_and_leaves_the_hold(self, made, hours):
        with pytest.raises(InsufficientBalance) as refused:
            extend(hold_id=made.pk, amount=41)
        assert (refused.value.needed, refused.value.available) == (41, 40)
        made.refresh_from_db()
        assert made.amount == 60
        assert state_of(hours) == (100, 60)

    def test_a_closed_hold_is_refused(self, made):
        release(hold_id=made.pk)
        with pytest.raises(HoldClosed, match="released"):
            extend(hold_id=made.pk, amount=1)

    def test_case_10_a_frozen_balance_is_refused(self, made, hours):
        freeze(balance=hours, incoming=False, outgoing=True)
        with pytest.raises(BalanceFrozen):
            extend(hold_id=made.pk, amount=1)

    def test_an_unknown_hold_is_not_found(self):
        with pytest.raises(NotFound):
            extend(hold_id=uuid7(), amount=1)

    def test_case_08_it_never_outgrows_what_can_be_counted(self):
        endless = open_balance(asset="USD", kind="wallet", owner_key="acct:endless", floor=None)
        made = hold(balance=endless, amount=LIMIT - 1, key="a", purpose="task")
        with pytest.raises(InvalidAmount):
            extend(hold_id=made.pk, amount=1)
        with pytest.raises(InvalidAmount):
            hold(balance=endless, amount=2, key="b", purpose="task")
