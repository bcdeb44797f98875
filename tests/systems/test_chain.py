"""Payments on a real EVM node: seen, confirmed, reorganised, and never credited for what they are not."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command

from accounts.ledger import check
from accounts.ledger import services as ledger
from accounts.services import wallet_balance
from gaas.lib import clock
from gaas.lib.errors import Conflict
from gaas.tests.cast import make_user
from payments import services
from payments.addresses import checksummed
from payments.models import Payment, Payout, Review
from payments.providers import PROVIDERS
from payments.providers.onchain import Chain, OnchainProvider
from tests.peers import Missing
from tests.systems.anvil import OTHER, OURS, PAYER, anvil, binary
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


@pytest.fixture
def sending(chain, lab, alice):
    """Let 40 dollars of earnings be agreed to, and taken over to be sent."""
    people = {name: make_user(name, is_staff=True) for name in ("Fay", "Fred")}
    for person in people.values():
        person.groups.add(Group.objects.get(name="Finance"))
    type(alice).objects.filter(pk=alice.pk).update(email_verified_at=clock.now())
    alice.refresh_from_db()
    where = services.add_destination(
        account=lab, kind="onchain", detail=checksummed(OTHER), by=alice, now=clock.now() - timedelta(days=4)
    )
    ledger.transfer(
        key="earned",
        kind="matured",
        debit=ledger.platform_balance(asset="USD", kind="fees"),
        credit=services.earnings_of(lab),
        amount=100 * USD,
    )

    def make(usd=40):
        payout = services.request_payout(destination=where, amount=usd * USD, by=alice, now=clock.now())
        payout = services.approve_payout(payout=payout, by=people["Fay"], now=clock.now())
        with pytest.raises(services.OwnPayout):
            services.begin_sending(payout=payout, by=people["Fay"], now=clock.now())
        return services.begin_sending(payout=payout, by=people["Fred"], now=clock.now())

    make.fred, make.fay = people["Fred"], people["Fay"]
    return make


class TestPayout:
    """A second person sends from a purse of the platform's own; the chain says whether it was sent."""

    def note(self, payout, tx, by):
        services.note_payout_sent(payout=payout, reference=tx, by=by, now=clock.now())
        return self.seen(payout)

    def seen(self, payout):
        self.hours = getattr(self, "hours", 0) + 2
        services.sweep(now=clock.now() + timedelta(hours=self.hours))
        return Payout.objects.get(pk=payout.pk)

    def test_it_is_paid_once_the_chain_shows_it_deep_enough(self, node, chain, sending, lab):
        payout = sending()
        assert payout.instructions["units"] == str(40 * USD)
        tx = node.transfer(chain.token, 40 * USD, to=OTHER)
        payout = self.note(payout, tx.upper().replace("0X", "0x"), sending.fred)
        assert (payout.status, payout.confirmations) == ("SENDING", 1)
        with pytest.raises(Conflict, match="chain shows"):
            services.give_up_payout(payout=payout, reason="x", by=sending.fay, now=clock.now())
        node.mine(DEPTH)
        payout = self.seen(payout)
        assert (payout.status, payout.provider_id) == ("PAID", f"31337:{tx}")
        assert services.earnings_of(lab).available == 60 * USD

    def test_the_chains_own_coin(self, node, chain, sending):
        chain(token="")
        payout = sending()
        # At 2 000 dollars a coin.
        assert int(payout.instructions["units"]) == 40 * 10**18 // 2_000
        tx = node.send(OTHER, value=int(payout.instructions["units"]))
        node.mine(DEPTH)
        assert self.note(payout, tx, sending.fred).status == "PAID"

    def test_one_transaction_pays_one_payout(self, node, chain, sending):
        one, two = sending(), sending()
        tx = node.transfer(chain.token, 40 * USD, to=OTHER)
        node.mine(DEPTH)
        assert self.note(one, tx, sending.fred).status == "PAID"
        with pytest.raises(services.ReferenceUsed):
            services.note_payout_sent(payout=two, reference=tx, by=sending.fred, now=clock.now())
        assert Payout.objects.get(pk=two.pk).status == "SENDING"

    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            ({"units": 40 * USD - 1}, "asks for exactly"),
            ({"to": OURS}, "right address"),
            ({"other_token": True}, "right contract"),
        ],
        ids=["units", "receiver", "token"],
    )
    def test_what_is_not_it_does_not_count_and_may_be_put_right(self, node, chain, sending, wrong, says):
        payout = sending()
        token = node.token() if wrong.get("other_token") else chain.token
        tx = node.transfer(token, wrong.get("units", 40 * USD), to=wrong.get("to", OTHER))
        node.mine(DEPTH)
        payout = self.note(payout, tx, sending.fred)
        assert payout.status == "SENDING"
        assert says in payout.failure_detail
        right = node.transfer(chain.token, 40 * USD, to=OTHER)
        node.mine(DEPTH)
        assert self.note(payout, right, sending.fred).status == "PAID"

    def test_one_from_before_it_was_taken_over_does_not_count(self, node, chain, sending):
        tx = node.transfer(chain.token, 40 * USD, to=OTHER)
        node.mine(DEPTH)
        payout = self.note(sending(), tx, sending.fred)
        assert payout.status == "SENDING"
        assert "older than" in payout.failure_detail

    def test_a_reorganisation_leaves_it_unpaid(self, node, chain, sending, lab):
        payout, before = sending(), node.snapshot()
        tx = node.transfer(chain.token, 40 * USD, to=OTHER)
        node.mine(DEPTH - 2)
        assert self.note(payout, tx, sending.fred).confirmations == DEPTH - 1
        node.revert(before)
        node.mine(DEPTH + 2)
        payout = self.seen(payout)
        assert (payout.status, payout.confirmations) == ("SENDING", 0)
        # Nothing of it is there, and whoever has it may send it again as it was.
        with pytest.raises(Conflict, match="may still be mined"):
            services.give_up_payout(payout=payout, reason="Left behind", by=sending.fay, now=clock.now())
        node.send(PAYER, value=1)  # by the same nonce
        with pytest.raises(Conflict, match="may still be mined"):
            services.give_up_payout(payout=payout, reason="Left behind", by=sending.fay, now=clock.now())
        node.mine(DEPTH)
        services.give_up_payout(payout=payout, reason="Left behind", by=sending.fay, now=clock.now())
        assert services.earnings_of(lab).available == 100 * USD

    def test_what_waits_in_the_mempool_is_not_given_up_and_paid_when_it_is_mined(self, node, chain, sending, lab):
        payout = sending()
        tx = node.transfer(chain.token, 40 * USD, to=OTHER, mined=False)
        payout = self.note(payout, tx, sending.fred)
        assert (payout.status, payout.failure_detail) == ("SENDING", "It waits to be mined.")
        with pytest.raises(Conflict, match="may still be mined"):
            services.give_up_payout(payout=payout, reason="Stuck", by=sending.fay, now=clock.now())
        assert services.earnings_of(lab).available == 60 * USD
        node.mine(DEPTH)
        assert (self.seen(payout).status, services.earnings_of(lab).available) == ("PAID", 60 * USD)

    def test_a_stuck_one_is_sent_anew_by_its_nonce_and_paid_once(self, node, chain, sending, lab):
        """The sender replaces it by one that pays more for its gas: of the two one is mined."""
        payout = sending()
        tx = node.transfer(chain.token, 40 * USD, to=OTHER, mined=False)
        payout = self.note(payout, tx, sending.fred)
        stuck = node.call("eth_getTransactionByHash", tx)
        fields = {name: stuck[name] for name in ("from", "to", "nonce", "gas")}
        dearer = {"maxFeePerGas": hex(10**12), "maxPriorityFeePerGas": hex(10**11), "data": stuck["input"]}
        again = node.call("eth_sendTransaction", {**fields, **dearer})
        payout = self.note(payout, again, sending.fred)
        node.mine(DEPTH)
        payout = self.seen(payout)
        assert (payout.status, payout.reference) == ("PAID", again)
        self.seen(payout)
        assert not payout.transactions.exclude(due_at=None).exists()
        assert not Review.objects.exists()

    def test_without_nodes_nobody_takes_it_over(self, node, chain, sending):
        chain(urls=("http://127.0.0.1:9",))
        with pytest.raises(Conflict, match="nobody could see"):
            sending()
        assert Payout.objects.get().status == "APPROVED"


class TestReconcile:
    """A chain whose blocks are two hours old, since what moved a moment ago is left to the poller."""

    @pytest.fixture
    def older(self, chain):
        with anvil(began_at=int(time.time()) - 7200) as running:
            running.own_token = running.token()
            chain(token=running.own_token, urls=(running.url,))
            yield running
            chain()

    @pytest.fixture
    def moved(self, older, begin, sending):
        """Have a payment come in and a payout go out, as the books and the chain say."""
        payment = begin()
        older.transfer(older.own_token, units_of(payment))
        older.mine(DEPTH)
        payment = look(payment)
        payout = sending()
        tx = older.transfer(older.own_token, 40 * USD, to=OTHER)
        older.mine(DEPTH)
        services.note_payout_sent(payout=payout, reference=tx, by=sending.fred, now=clock.now())
        services.sweep(now=clock.now() + timedelta(hours=1))
        payout = Payout.objects.get()
        assert (payment.status, payout.status) == ("SUCCEEDED", "PAID")
        ago = clock.now() - timedelta(hours=1)
        for row in (payment, payout):
            type(row).objects.filter(pk=row.pk).update(created_at=ago)
        return payment, payout

    def said(self):
        out = StringIO()
        try:
            call_command("reconcile", stdout=out)
        except CommandError as ended:
            return ended.returncode, out.getvalue()
        return 0, out.getvalue()

    def test_what_the_chain_and_the_books_agree_on(self, moved):
        code, text = self.said()
        assert (code, "The books agree" in text, "1 movements" in text) == (0, True, True)

    def test_what_came_in_and_is_not_in_the_books_is_named(self, older, moved):
        tx = older.transfer(older.own_token, 5 * USD)
        older.mine(DEPTH)
        code, text = self.said()
        assert code == 1
        assert f"has a payment of 5.000000 USD of {datetime.now(UTC):%Y}" in text
        assert tx in text

    def test_a_payment_that_the_chain_does_not_have_is_named(self, moved):
        payment, _ = moved
        Payment.objects.filter(pk=payment.pk).update(provider_id="31337:0x" + "9" * 64 + ":0")
        code, text = self.said()
        assert (code, f"The payment {payment.pk}" in text) == (1, True)

    def test_so_is_a_payout(self, moved):
        _, payout = moved
        Payout.objects.filter(pk=payout.pk).update(reference="0x" + "9" * 64)
        code, text = self.said()
        assert code == 1
        assert f"The payout {payout.pk} of 40.000000 USD moved by the books" in text
        assert "no such transaction" in text

    def test_nodes_that_are_away_leave_it_unsaid(self, chain, moved):
        chain(urls=("http://127.0.0.1:9",))
        assert self.said()[0] == 2
