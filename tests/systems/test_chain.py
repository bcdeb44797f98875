"""Payments on a real EVM node: seen, confirmed, reorganised, and never credited for what they are not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from accounts.ledger import check
from accounts.services import wallet_balance
from gaas.lib import clock
from payments import services
from payments.models import Payment
from payments.providers import PROVIDERS
from payments.providers.onchain import Chain, OnchainProvider
from tests.peers import Missing
from tests.systems.anvil import OTHER, OURS, anvil, binary
from tests.systems.conftest import not_run

pytestmark = [pytest.mark.systems, pytest.mark.django_db]

USD = 1_000_000
DEPTH = 4


@pytest.fixture
def wallet(lab):
    """Tell what the lab's wallet has free, in micro-dollars."""
    return lambda: wallet_balance(lab).available


@pytest.fixture(scope="module")
def node():
    try:
        binary()
    except Missing as why:
        not_run(f"chain: {why}")
    with anvil() as running:
        yield running


@pytest.fixture
def chain(node, monkeypatch):
    """Set the platform up for a token on the node; give the token's address."""
    token = node.token()

    def set_up(*, token=token, urls=(node.url,), chain_id=31337):
        about = Chain(
            chain_id=chain_id,
            receiver=OURS,
            token=token,
            symbol="USDC" if token else "ETH",
            decimals=6 if token else 18,
            usd_micro=USD if token else 2_000 * USD,
            confirmations=DEPTH,
        )
        monkeypatch.setitem(PROVIDERS, "onchain", OnchainProvider(about, list(urls)))
        return token

    set_up()
    set_up.token = token
    yield set_up
    assert [problem for result in check.run() for problem in result.problems] == []


@pytest.fixture
def begin(chain, lab, alice):
    def make(usd=20, account=lab, by=alice):
        payment = services.start_payment(account=account, provider="onchain", amount=usd * USD, by=by, now=clock.now())
        return look(payment)

    return make


def look(payment, hours=0.0):
    """Let the sweep look; each time later than before, since it waits longer and longer."""
    look.hours = getattr(look, "hours", 0) + 2
    services.follow(payment_id=payment.pk, now=clock.now() + timedelta(hours=look.hours + hours))
    return Payment.objects.select_related("chain").get(pk=payment.pk)


def claim(payment, tx_hash, by):
    services.claim_transaction(payment=payment, tx_hash=tx_hash, by=by, now=clock.now())
    return look(payment)


def units_of(payment):
    return int(payment.instructions["units"])


class TestPay:
    def test_a_transfer_is_found_and_credited_after_its_confirmations(self, node, chain, begin, wallet):
        payment = begin()
        assert (payment.status, payment.instructions["send_to"]) == ("PENDING", OURS)
        node.transfer(chain.token, units_of(payment))
        for _ in range(DEPTH - 1):
            payment = look(payment)
            assert (payment.status, wallet()) == ("PENDING", 0)
            node.mine()
        payment = look(payment)
        assert (payment.status, wallet()) == ("SUCCEEDED", payment.amount)
        assert 20 * USD < payment.amount < 20.01 * USD

    def test_by_hash_with_the_count_shown(self, node, chain, begin, alice, wallet):
        payment = begin()
        tx = node.transfer(chain.token, units_of(payment))
        payment = claim(payment, tx.upper().replace("0X", "0x"), alice)
        assert (payment.status, payment.chain.confirmations) == ("PENDING", 1)
        node.mine(DEPTH)
        assert look(payment).status == "SUCCEEDED"

    def test_the_chains_own_coin(self, node, chain, begin, alice, wallet):
        chain(token="")
        payment = begin()
        tx = node.send(OURS, value=units_of(payment))
        node.mine(DEPTH)
        assert claim(payment, tx, alice).status == "SUCCEEDED"
        assert wallet() == 20 * USD

    def test_two_payments_of_one_amount_ask_for_different_units(self, begin):
        assert units_of(begin()) != units_of(begin())


class TestNotThePayment:
    def test_case_39_hash_used_by_two_users_and_other_log_of_the_same_transaction(
        self, node, chain, begin, alice, bob, lab, wallet
    ):
        mine, theirs = begin(), begin()
        tx = node.transfer(chain.token, units_of(mine))
        node.mine(DEPTH)
        assert claim(mine, tx, alice).status == "SUCCEEDED"
        before = wallet()
        theirs = claim(theirs, tx, alice)
        assert (theirs.status, wallet()) == ("PENDING", before)
        assert "asks for exactly" in theirs.chain.problem

    def test_case_39_hash_replayed_on_another_chain(self, node, chain, begin, alice, wallet):
        with anvil(chain_id=99) as elsewhere:
            payment = begin()
            token = elsewhere.token()
            tx = elsewhere.transfer(token, units_of(payment))
            elsewhere.mine(DEPTH)
            payment = claim(payment, tx, alice)
            assert (payment.status, wallet()) == ("PENDING", 0)
            assert "no such transaction" in payment.chain.problem
            # Nodes of another chain than the one that is set up are not asked at all.
            chain(urls=(elsewhere.url,))
            other = begin()
            assert other.status == "CREATED"

    def test_case_40_wrong_token_with_the_same_symbol(self, node, chain, begin, alice, wallet):
        payment = begin()
        tx = node.transfer(node.token(), units_of(payment))
        node.mine(DEPTH)
        payment = claim(payment, tx, alice)
        assert (payment.status, wallet()) == ("PENDING", 0)
        assert "right contract" in payment.chain.problem

    def test_case_40_failed_transaction(self, node, chain, begin, alice, wallet):
        token = chain(token=node.token(fails=True))
        payment = begin()
        tx = node.transfer(token, units_of(payment))
        node.mine(DEPTH)
        payment = claim(payment, tx, alice)
        assert (payment.status, wallet()) == ("PENDING", 0)
        assert "failed on the chain" in payment.chain.problem

    def test_case_40_transfer_to_another_address(self, node, chain, begin, alice, wallet):
        payment = begin()
        tx = node.transfer(chain.token, units_of(payment), to=OTHER)
        node.mine(DEPTH)
        assert (claim(payment, tx, alice).status, wallet()) == ("PENDING", 0)

    @pytest.mark.parametrize("off", [-1, 1])
    def test_case_40_one_unit_off(self, node, chain, begin, alice, wallet, off):
        payment = begin()
        tx = node.transfer(chain.token, units_of(payment) + off)
        node.mine(DEPTH)
        assert (claim(payment, tx, alice).status, look(payment).status, wallet()) == ("PENDING", "PENDING", 0)

    def test_case_40_fee_on_transfer_token(self, node, chain, begin, alice, wallet):
        token = chain(token=node.token(fee=7))
        payment = begin()
        tx = node.transfer(token, units_of(payment))
        node.mine(DEPTH)
        assert (claim(payment, tx, alice).status, wallet()) == ("PENDING", 0)

    def test_older_than_the_payment(self, node, chain, begin, alice, wallet):
        payment = begin()
        tx = node.transfer(chain.token, units_of(payment))
        node.mine(DEPTH)
        payment.chain.from_block = int(node.call("eth_blockNumber"), 16)
        payment.chain.save()
        payment = claim(payment, tx, alice)
        assert (payment.status, wallet()) == ("PENDING", 0)
        assert "older than the payment" in payment.chain.problem


class TestChain:
    def test_case_41_reorg_after_n_minus_1_confirmations(self, node, chain, begin, wallet):
        payment = begin()
        before = node.snapshot()
        node.transfer(chain.token, units_of(payment))
        node.mine(DEPTH - 2)
        payment = look(payment)
        assert (payment.status, payment.chain.confirmations) == ("PENDING", DEPTH - 1)
        node.revert(before)
        node.mine(DEPTH + 2)
        payment = look(payment)
        assert (payment.status, payment.chain.confirmations, wallet()) == ("PENDING", 0, 0)
        # Mined again on the new branch, it counts from there.
        node.transfer(chain.token, units_of(payment))
        node.mine(DEPTH)
        assert look(payment).status == "SUCCEEDED"

    def test_case_42_node_down_is_pending(self, node, chain, begin, wallet):
        payment = begin()
        node.transfer(chain.token, units_of(payment))
        node.mine(DEPTH)
        chain(urls=(node.url, "http://127.0.0.1:9"))
        assert (look(payment).status, wallet()) == ("PENDING", 0)
        chain()
        assert look(payment).status == "SUCCEEDED"

    def test_case_42_nodes_that_disagree_are_pending(self, node, chain, begin, alice, wallet):
        with anvil() as liar:
            payment = begin()
            tx = node.transfer(chain.token, units_of(payment))
            node.mine(DEPTH)
            liar.mine(50)
            chain(urls=(node.url, liar.url))
            assert (claim(payment, tx, alice).status, wallet()) == ("PENDING", 0)
            chain()
            assert look(payment).status == "SUCCEEDED"
