import pytest
from django.db import connection

from accounts.ledger.models import Hold
from accounts.ledger.services import (
    AssetMismatch,
    BalanceFrozen,
    InsufficientBalance,
    InvalidAmount,
    KeyReused,
    close,
    extend,
    freeze,
    hold,
    open_balance,
    open_cap,
    platform_balance,
    release,
)
from accounts.ledger.tests.conftest import state_of
from gaas.lib.clock import now

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


class TestHold:
    def test_it_promises_a_part_of_the_balance(self, hours):
        made = hold(balance=hours, amount=60, key="task:1", purpose="task", ref="1")
        assert (made.amount, made.captured, made.released, made.state) == (60, 0, 0, "open")
        assert state_of(hours) == (100, 60)

    def test_it_takes_the_last_unit_and_not_one_more(self, hours):
        hold(balance=hours, amount=99, key="a", purpose="task")
        hold(balance=hours, amount=1, key="b", purpose="task")
        with pytest.raises(InsufficientBalance) as refused:
            hold(balance=hours, amount=1, key="c", purpose="task")
        assert (refused.value.asset, refused.value.needed, refused.value.available) == ("GPU", 1, 0)
        assert not Hold.objects.filter(key="c").exists()

    def test_it_names_what_is_missing_in_hours(self, funded):
        ten_hours = funded("bob", 36_000_000)
        with pytest.raises(InsufficientBalance, match=r"needs 11\.000000 h, but only 10\.000000 h are available"):
            hold(balance=ten_hours, amount=39_600_000, key="t", purpose="task")

    def test_the_same_key_gives_the_same_hold_once(self, hours):
        first = hold(balance=hours, amount=60, key="task:1", purpose="task")
        assert hold(balance=hours, amount=60, key="task:1", purpose="task") == first
        assert state_of(hours) == (100, 60)

    def test_the_same_key_gives_the_hold_as_it_is_after_an_extension_or_its_end(self, hours):
        made = hold(balance=hours, amount=60, key="task:1", purpose="task")
        extend(hold_id=made.pk, amount=10)
        assert hold(balance=hours, amount=60, key="task:1", purpose="task").amount == 70
        release(hold_id=made.pk)
        assert hold(balance=hours, amount=60, key="task:1", purpose="task").state == "released"

    def test_case_06_the_same_natural_key_with_another_amount_is_refused(self, hours, funded):
        hold(balance=hours, amount=60, key="task:1", purpose="task", ref="1")
        for change in ({"amount": 61}, {"ref": "2"}, {"purpose": "payout"}, {"balance": funded("bob", 100)}):
            asked = {"balance": hours, "amount": 60, "key": "task:1", "purpose": "task", "ref": "1"} | change
            with pytest.raises(KeyReused):
                hold(**asked)
        assert state_of(hours) == (100, 60)

    @pytest.mark.parametrize("amount", [0, -1, 2**62, 2**63, 2**64, True, 1.0, "1", None])
    def test_case_08_an_amount_that_is_none_is_refused(self, hours, amount):
        with pytest.raises(InvalidAmount):
            hold(balance=hours, amount=amount, key="task:1", purpose="task")

    def test_case_10_a_frozen_or_closed_balance_is_refused(self, hours):
        freeze(balance=hours, incoming=False, outgoing=True)
        with pytest.raises(BalanceFrozen, match="frozen"):
            hold(balance=hours, amount=1, key="a", purpose="task")
        empty = open_balance(asset="GPU", kind="hours", owner_key="acct:empty")
        close(balance=empty)
        with pytest.raises(BalanceFrozen, match="closed"):
            hold(balance=empty, amount=1, key="b", purpose="task")

    def test_what_is_frozen_for_income_may_still_be_held(self, hours):
        freeze(balance=hours, incoming=True, outgoing=False)
        assert hold(balance=hours, amount=1, key="a", purpose="task").is_open

    def test_a_platform_balance_cannot_be_held(self, grant):
        with pytest.raises(ValueError, match="platform"):
            hold(balance=grant, amount=1, key="a", purpose="task")

    def test_a_balance_without_floor_may_be_held_below_zero(self):
        credit_line = open_balance(asset="USD", kind="wallet", owner_key="acct:credit", floor=None)
        hold(balance=credit_line, amount=500, key="a", purpose="task")
        assert state_of(credit_line) == (0, 500)

    def test_a_negative_floor_is_a_credit_of_that_much(self):
        credit_line = open_balance(asset="USD", kind="wallet", owner_key="acct:credit", floor=-10)
        hold(balance=credit_line, amount=10, key="a", purpose="task")
        with pytest.raises(InsufficientBalance):
            hold(balance=credit_line, amount=1, key="b", purpose="task")

    def test_a_cap_of_another_asset_is_refused(self, hours):
        moment = now()
        money = open_cap(
            asset="USD", owner_key="acct:alice", starts_at=moment, ends_at=moment.replace(year=2999), limit=5
        )
        with pytest.raises(AssetMismatch):
            hold(balance=hours, amount=1, key="a", purpose="task", caps=[money])

    def test_it_takes_few_statements(self, hours, django_assert_num_queries):
        # savepoint, key, balance, hold, release of the savepoint
        with django_assert_num_queries(1 if connection.vendor == "postgresql" else 5):
            hold(balance=hours, amount=1, key="a", purpose="task")

    def test_a_platform_balance_is_one_for_all(self, grant):
        assert platform_balance(asset="GPU", kind="grant") == grant
