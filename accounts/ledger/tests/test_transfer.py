from datetime import UTC, datetime

import pytest

from accounts.ledger.choices import LIMIT
from accounts.ledger.models import Transfer
from accounts.ledger.services import (
    AssetMismatch,
    BalanceFrozen,
    InsufficientBalance,
    InvalidAmount,
    KeyReused,
    close,
    freeze,
    hold,
    open_balance,
    transfer,
)
from accounts.ledger.tests.conftest import state_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


@pytest.fixture
def bob(funded):
    return funded("bob", 0)


class TestTransfer:
    def test_it_moves_an_amount(self, hours, bob):
        row = transfer(
            key="t", kind="allowance", debit=hours, credit=bob, amount=30, actor="pat", memo="for May", ref="c1"
        )
        assert (state_of(hours), state_of(bob)) == ((70, 0), (30, 0))
        assert (row.asset_id, row.actor, row.memo, row.ref) == ("GPU", "pat", "for May", "c1")

    def test_its_moments_are_those_of_the_database(self, hours, bob):
        then = datetime(2024, 2, 29, tzinfo=UTC)
        row = transfer(key="t", kind="k", debit=hours, credit=bob, amount=1)
        late = transfer(key="u", kind="k", debit=hours, credit=bob, amount=1, effective_at=then)
        assert row.created_at == row.effective_at
        assert Transfer.objects.get(pk=late.pk).effective_at == then
        assert late.created_at > then

    def test_the_same_key_moves_it_once_whoever_asks_again(self, hours, bob):
        first = transfer(key="t", kind="k", debit=hours, credit=bob, amount=30, actor="pat")
        assert transfer(key="t", kind="k", debit=hours, credit=bob, amount=30, actor="beat", memo="again") == first
        assert state_of(hours) == (70, 0)

    def test_a_replay_succeeds_when_the_money_is_spent_or_the_balance_frozen(self, hours, bob):
        transfer(key="t", kind="k", debit=hours, credit=bob, amount=100)
        freeze(balance=hours, incoming=True, outgoing=True)
        assert transfer(key="t", kind="k", debit=hours, credit=bob, amount=100).amount == 100

    def test_case_06_the_same_natural_key_with_another_amount_is_refused(self, hours, bob, used):
        asked = {"key": "t", "kind": "k", "debit": hours, "credit": bob, "amount": 30}
        transfer(**asked)
        for change in ({"amount": 31}, {"credit": used}, {"kind": "other"}, {"ref": "r"}, {"group": "g"}):
            with pytest.raises(KeyReused):
                transfer(**asked | change)
        assert state_of(hours) == (70, 0)

    def test_more_than_is_available_is_refused(self, hours, bob):
        hold(balance=hours, amount=60, key="h", purpose="task")
        with pytest.raises(InsufficientBalance) as refused:
            transfer(key="t", kind="k", debit=hours, credit=bob, amount=41)
        assert refused.value.available == 40

    def test_case_07_assets_never_mix(self, hours, wallet):
        with pytest.raises(AssetMismatch):
            transfer(key="t", kind="k", debit=hours, credit=wallet, amount=1)

    def test_case_08_to_oneself_is_refused(self, hours):
        with pytest.raises(InvalidAmount):
            transfer(key="t", kind="k", debit=hours, credit=hours, amount=1)

    @pytest.mark.parametrize("amount", [0, -1, 2**62, 2**63, 2**63 - 1, 10**30, False, 1.5, "1"])
    def test_case_08_an_amount_that_is_none_is_refused(self, hours, bob, amount):
        with pytest.raises(InvalidAmount):
            transfer(key="t", kind="k", debit=hours, credit=bob, amount=amount)
        assert state_of(hours) == (100, 0)

    def test_case_08_a_balance_never_passes_what_can_be_counted(self):
        rich = open_balance(asset="USD", kind="wallet", owner_key="acct:rich")
        deep = open_balance(asset="USD", kind="wallet", owner_key="acct:deep", floor=None)
        transfer(key="1", kind="k", debit=deep, credit=rich, amount=LIMIT - 1)
        transfer(key="2", kind="k", debit=deep, credit=rich, amount=1)
        with pytest.raises(InvalidAmount, match="grow"):
            transfer(key="3", kind="k", debit=deep, credit=rich, amount=1)
        other = open_balance(asset="USD", kind="wallet", owner_key="acct:other")
        with pytest.raises(InvalidAmount, match="shrink"):
            transfer(key="3", kind="k", debit=deep, credit=other, amount=1)
        assert (state_of(rich), state_of(deep)) == ((LIMIT, 0), (-LIMIT, 0))

    def test_case_10_what_is_frozen_neither_gives_nor_takes(self, hours, bob):
        freeze(balance=hours, incoming=False, outgoing=True)
        with pytest.raises(BalanceFrozen):
            transfer(key="t", kind="k", debit=hours, credit=bob, amount=1)
        freeze(balance=hours, incoming=False, outgoing=False)
        freeze(balance=bob, incoming=True, outgoing=False)
        with pytest.raises(BalanceFrozen):
            transfer(key="t", kind="k", debit=hours, credit=bob, amount=1)
        assert (state_of(hours), state_of(bob)) == ((100, 0), (0, 0))

    def test_case_10_a_frozen_platform_balance_neither_gives_nor_takes(self, grant, used, hours):
        freeze(balance=grant, incoming=False, outgoing=True)
        with pytest.raises(BalanceFrozen):
            transfer(key="t", kind="k", debit=grant, credit=hours, amount=1)
        freeze(balance=used, incoming=True, outgoing=False)
        with pytest.raises(BalanceFrozen):
            transfer(key="t", kind="k", debit=hours, credit=used, amount=1)

    def test_case_10_a_closed_balance_neither_gives_nor_takes(self, hours, bob):
        close(balance=bob)
        with pytest.raises(BalanceFrozen, match="closed"):
            transfer(key="t", kind="k", debit=hours, credit=bob, amount=1)
        with pytest.raises(BalanceFrozen, match="closed"):
            transfer(key="t", kind="k", debit=bob, credit=hours, amount=1)

    def test_it_takes_few_statements(self, hours, bob, django_assert_num_queries):
        # savepoint, key, two balances, transfer, release of the savepoint
        with django_assert_num_queries(6):
            transfer(key="t", kind="k", debit=hours, credit=bob, amount=1)
