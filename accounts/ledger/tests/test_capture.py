import pytest
from django.db import connection

from accounts.ledger.choices import LIMIT
from accounts.ledger.models import Transfer
from accounts.ledger.services import (
    AssetMismatch,
    BalanceFrozen,
    HoldClosed,
    HoldExceeded,
    InvalidAmount,
    KeyReused,
    Leg,
    capture,
    extend,
    freeze,
    hold,
    open_balance,
    transfer,
)
from accounts.ledger.tests.conftest import state_of
from gaas.lib.errors import NotFound
from gaas.lib.ids import uuid7

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


@pytest.fixture
def made(wallet):
    return hold(balance=wallet, amount=60, key="task:1", purpose="task")


def legs_to(earnings, fees, owner=27, fee=3):
    return [
        Leg(credit=earnings, amount=owner, kind="earning", key="task:1:owner", ref="1"),
        Leg(credit=fees, amount=fee, kind="fee", key="task:1:fee", ref="1"),
    ]


class TestCapture:
    def test_it_pays_each_leg_and_gives_back_the_rest(self, made, wallet, earnings, fees):
        rows = capture(hold_id=made.pk, legs=legs_to(earnings, fees), final=True, actor="worker")
        made.refresh_from_db()
        assert (made.state, made.captured, made.released) == ("captured", 30, 30)
        assert (state_of(wallet), state_of(earnings), fees.total()) == ((70, 0), (27, 0), 3)
        assert {(row.group, row.actor, row.hold_id) for row in rows} == {("task:1", "worker", made.pk)}
        assert [row.key for row in rows] == ["task:1:owner", "task:1:fee"]

    def test_one_that_is_not_final_leaves_the_hold_open(self, made, wallet, earnings):
        capture(hold_id=made.pk, legs=[Leg(credit=earnings, amount=10, kind="k", key="h:1")], final=False)
        made.refresh_from_db()
        assert (made.state, made.open_amount) == ("open", 50)
        assert state_of(wallet) == (90, 50)

    def test_it_goes_on_hour_by_hour_with_extensions(self, made, wallet, earnings):
        for hour in range(4):
            capture(hold_id=made.pk, legs=[Leg(credit=earnings, amount=10, kind="k", key=f"h:{hour}")], final=False)
            extend(hold_id=made.pk, amount=10)
        assert (state_of(wallet), state_of(earnings)) == ((60, 60), (40, 0))

    def test_two_legs_to_one_balance_both_count(self, made, earnings):
        legs = [Leg(credit=earnings, amount=amount, kind="k", key=f"l:{amount}") for amount in (1, 2)]
        capture(hold_id=made.pk, legs=legs, final=True)
        assert state_of(earnings) == (3, 0)

    def test_a_capture_of_nothing_that_is_not_final_does_nothing(self, made):
        assert capture(hold_id=made.pk, legs=[], final=False) == []
        made.refresh_from_db()
        assert made.is_open

    def test_case_02_the_same_capture_twice_pays_once(self, made, wallet, earnings, fees):
        first = capture(hold_id=made.pk, legs=legs_to(earnings, fees), final=True)
        assert capture(hold_id=made.pk, legs=legs_to(earnings, fees), final=True) == first
        assert state_of(wallet) == (70, 0)

    def test_case_02_another_capture_after_the_final_one_is_refused(self, made, earnings, fees):
        capture(hold_id=made.pk, legs=legs_to(earnings, fees), final=True)
        with pytest.raises(HoldClosed, match="captured"):
            capture(hold_id=made.pk, legs=[Leg(credit=earnings, amount=1, kind="k", key="other")], final=True)

    def test_case_03_more_than_the_hold_is_refused(self, made, wallet, earnings, fees):
        with pytest.raises(HoldExceeded):
            capture(hold_id=made.pk, legs=legs_to(earnings, fees, owner=58, fee=3), final=True)
        assert state_of(wallet) == (100, 60)
        assert state_of(earnings) == (0, 0)

    def test_case_03_legs_that_together_pass_64_bits_are_refused(self, made, earnings, fees):
        with pytest.raises(HoldExceeded):
            capture(hold_id=made.pk, legs=legs_to(earnings, fees, owner=LIMIT - 1, fee=LIMIT - 1), final=True)

    def test_case_06_the_same_keys_with_other_content_are_refused(self, made, earnings, fees, wallet):
        capture(hold_id=made.pk, legs=legs_to(earnings, fees), final=False)
        owner, fee = legs_to(earnings, fees)
        for legs, final in (
            (legs_to(earnings, fees, owner=28), False),
            ([owner, fee, Leg(credit=fees, amount=1, kind="fee", key="more")], False),
            ([owner, fee], True),
        ):
            with pytest.raises(KeyReused):
                capture(hold_id=made.pk, legs=legs, final=final)
        other = hold(balance=wallet, amount=30, key="task:2", purpose="task")
        with pytest.raises(KeyReused):
            capture(hold_id=other.pk, legs=[owner, fee], final=True)

    def test_two_legs_with_one_key_are_refused(self, made, earnings):
        with pytest.raises(KeyReused):
            capture(hold_id=made.pk, legs=[Leg(credit=earnings, amount=1, kind="k", key="x")] * 2, final=True)

    def test_case_07_a_payee_of_another_asset_is_refused(self, made, used):
        with pytest.raises(AssetMismatch):
            capture(hold_id=made.pk, legs=[Leg(credit=used, amount=1, kind="k", key="x")], final=True)

    def test_case_08_a_leg_to_oneself_or_of_no_amount_is_refused(self, made, wallet, earnings):
        for leg in (
            Leg(credit=wallet, amount=1, kind="k", key="x"),
            Leg(credit=earnings, amount=0, kind="k", key="x"),
            Leg(credit=earnings, amount=-1, kind="k", key="x"),
        ):
            with pytest.raises(InvalidAmount):
                capture(hold_id=made.pk, legs=[leg], final=True)

    def test_case_10_a_frozen_payer_keeps_the_promise(self, made, wallet, earnings, fees):
        freeze(balance=wallet, incoming=True, outgoing=True)
        capture(hold_id=made.pk, legs=legs_to(earnings, fees), final=True)
        assert state_of(wallet) == (70, 0)

    def test_case_10_a_frozen_payee_is_refused(self, made, wallet, earnings, fees):
        for payee in (earnings, fees):
            freeze(balance=payee, incoming=True, outgoing=False)
            with pytest.raises(BalanceFrozen):
                capture(hold_id=made.pk, legs=legs_to(earnings, fees), final=True)
            freeze(balance=payee, incoming=False, outgoing=False)
        assert state_of(wallet) == (100, 60)
        assert state_of(earnings) == (0, 0)

    @pytest.mark.parametrize(("owner", "fee"), [(30, 0), (0, 30), (1, 0), (0, 1)])
    def test_case_16_a_fee_of_nothing_or_all_and_a_charge_of_one(self, made, earnings, fees, owner, fee):
        legs = [leg for leg in legs_to(earnings, fees, owner=owner, fee=fee) if leg.amount]
        capture(hold_id=made.pk, legs=legs, final=True)
        assert (state_of(earnings)[0], fees.total()) == (owner, fee)

    def test_an_unknown_hold_is_not_found(self, earnings):
        with pytest.raises(NotFound):
            capture(hold_id=uuid7(), legs=[Leg(credit=earnings, amount=1, kind="k", key="x")], final=True)

    def test_a_full_payee_is_refused(self, made, wallet):
        rich = open_balance(asset="USD", kind="earnings", owner_key="acct:rich")
        bottomless = open_balance(asset="USD", kind="wallet", owner_key="acct:bottomless", floor=None)
        transfer(key="rich", kind="k", debit=bottomless, credit=rich, amount=LIMIT - 1)
        with pytest.raises(InvalidAmount):
            capture(hold_id=made.pk, legs=[Leg(credit=rich, amount=2, kind="k", key="x")], final=True)

    def test_it_takes_few_statements(self, made, earnings, fees, django_assert_num_queries):
        # savepoint, hold, keys, hold, two stored balances, the freeze of one lazy, caps, transfers, release
        with django_assert_num_queries(3 if connection.vendor == "postgresql" else 10):
            capture(hold_id=made.pk, legs=legs_to(earnings, fees), final=True)

    def test_what_was_written_before_a_refusal_is_undone(self, made, wallet, earnings, fees):
        freeze(balance=fees, incoming=True, outgoing=False)
        with pytest.raises(BalanceFrozen):
            capture(hold_id=made.pk, legs=legs_to(earnings, fees), final=True)
        made.refresh_from_db()
        assert made.is_open
        assert not Transfer.objects.filter(hold=made).exists()
