"""Payouts on a chain, where people send and nodes tell: what they may and may not say of a transaction.

The node says what it is told; `tests/systems/test_chain.py` has a real chain.
"""

from __future__ import annotations

import threading
from importlib import import_module

import pytest
from django.apps import apps
from django.db import IntegrityError, connections, transaction

from gaas.lib import clock
from gaas.lib.errors import Conflict
from payments import services
from payments.models import Payout, Review, SentTransaction
from payments.providers import PROVIDERS
from payments.tests import test_nodes
from payments.tests.conftest import EVM, USD, clerk
from payments.tests.test_nodes import OTHER_TX, OURS, SENDER, THEIRS, TX, later

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]
node = test_nodes.node


@pytest.fixture
def gina(db):
    """A third one in finance."""
    return clerk("Gina")


@pytest.fixture
def noted(node, agreed, fred):
    """Let one be taken over, and a transaction be noted for it."""

    def make(tx=TX):
        payout = services.begin_sending(payout=agreed(40, "onchain"), by=fred, now=clock.now())
        return services.note_payout_sent(payout=payout, reference=tx, by=fred, now=clock.now())

    return make


def give_up(payout, by):
    return services.give_up_payout(payout=payout, reason="Not sent", by=by, now=clock.now())


def shown(node, tx=TX):
    node.height += 1
    node.pay(40 * USD, node.height, to=EVM.lower(), tx=tx)


def note(payout, tx, by):
    return services.note_payout_sent(payout=payout, reference=tx, by=by, now=clock.now())


def reviews():
    return list(Review.objects.values_list("code", "facts__transaction"))


class TestTakenOver:
    """The nodes are asked between the look at a payout and its lock: what others do meanwhile counts."""

    @pytest.fixture
    def meanwhile(self, node, monkeypatch):
        def make(act):
            chain = PROVIDERS["onchain"]
            terms = chain.payout_terms

            def told(payout):
                monkeypatch.setattr(chain, "payout_terms", terms)
                act()
                return terms(payout)

            monkeypatch.setattr(chain, "payout_terms", told)

        return make

    def test_of_two_at_once_one_sends_it(self, meanwhile, agreed, fred, gina):
        payout = agreed(40, "onchain")
        meanwhile(lambda: services.begin_sending(payout=payout, by=gina, now=clock.now()))
        with pytest.raises(Conflict, match=r"sending by gina@\S+ by now: do not send it"):
            services.begin_sending(payout=payout, by=fred, now=clock.now())
        assert Payout.objects.get().sent_by == gina

    def test_nobody_sends_what_its_owner_took_back(self, meanwhile, agreed, alice, fred, earned):
        payout = agreed(40, "onchain")
        meanwhile(lambda: services.cancel_payout(payout=payout, by=alice, now=clock.now()))
        with pytest.raises(Conflict, match="cancelled by now: do not send it"):
            services.begin_sending(payout=payout, by=fred, now=clock.now())
        assert (Payout.objects.get().status, earned()) == ("CANCELLED", 100 * USD)


class TestGiveUp:
    def test_not_what_the_chain_shows_by_now(self, node, noted, gina, earned):
        payout = noted()
        shown(node)
        with pytest.raises(Conflict, match="chain shows"):
            give_up(payout, gina)
        assert (Payout.objects.get().status, earned()) == ("SENDING", 60 * USD)

    def test_nor_while_nobody_can_tell(self, node, noted, gina, earned):
        payout = noted()
        node.answers["eth_blockNumber"] = b"no"
        with pytest.raises(Conflict, match="nobody can tell"):
            give_up(payout, gina)
        assert (Payout.objects.get().status, earned()) == ("SENDING", 60 * USD)

    def test_its_transaction_is_free_for_the_one_that_went_by_it(self, node, noted, gina, earned):
        wrong = noted()
        give_up(wrong, gina)
        right = noted()
        shown(node)
        node.height += 4
        services.sweep(now=test_nodes.later(minutes=5))
        right.refresh_from_db()
        wrong.refresh_from_db()
        assert (wrong.status, right.status, earned()) == ("FAILED", "PAID", 60 * USD)
        assert wrong.events.filter(reason=f"Sent by {TX}.").exists()


class TestMempool:
    def test_what_waits_there_is_not_given_up(self, node, noted, gina, earned):
        payout = noted()
        node.wait(TX)
        with pytest.raises(Conflict, match="may still be mined"):
            give_up(payout, gina)
        assert (Payout.objects.get().status, earned()) == ("SENDING", 60 * USD)

    def test_nor_what_the_nodes_forgot_until_its_nonce_is_used(self, node, noted, gina, earned):
        payout = noted()
        node.wait(TX, nonce=7)
        services.sweep(now=later(minutes=1))
        node.mempool.clear()
        with pytest.raises(Conflict, match="nonce 7"):
            give_up(payout, gina)
        assert earned() == 60 * USD
        node.nonce = 8
        give_up(payout, gina)
        assert (Payout.objects.get().status, earned()) == ("FAILED", 100 * USD)

    @pytest.mark.parametrize("is_another_s", [False, True])
    def test_nor_what_its_sender_sent_anew_by_a_hash_that_nobody_noted(
        self, node, noted, gina, fred, earned, agreed, is_another_s
    ):
        payout = noted()
        node.wait(TX, nonce=7)
        services.sweep(now=later(minutes=1))
        if is_another_s:
            same = services.begin_sending(payout=agreed(40, "onchain"), by=fred, now=clock.now())
            note(same, OTHER_TX, fred)
        # As a wallet does that is told to speed it up.
        node.mempool.clear()
        shown(node, OTHER_TX)
        node.height, node.nonce = node.height + 4, 8
        if is_another_s:
            give_up(payout, gina)
            services.sweep(now=later(minutes=5))
            same.refresh_from_db()
            assert (Payout.objects.get(pk=payout.pk).status, same.status) == ("FAILED", "PAID")
            return
        with pytest.raises(Conflict, match=f"by {OTHER_TX}: note that one"):
            give_up(payout, gina)
        note(payout, OTHER_TX, fred)
        services.sweep(now=later(minutes=5))
        assert (Payout.objects.get().status, earned()) == ("PAID", 60 * USD)

    def test_what_its_sender_is_told_of_it(self, node, noted):
        payout = noted()
        node.wait(TX, nonce=7)
        services.sweep(now=later(minutes=1))
        payout.refresh_from_db()
        assert payout.failure_detail == "It waits to be mined."

    def test_what_no_node_knew_and_was_mined_after_all_goes_to_review(self, node, noted, gina, earned):
        give_up(noted(), gina)
        node.wait(TX)
        services.sweep(now=later(minutes=5))
        assert reviews() == []
        shown(node)
        services.sweep(now=later(hours=12))
        assert reviews() == []
        node.height += 4
        for hours in (24, 36):
            services.sweep(now=later(hours=hours))
        assert reviews() == [("payout_sent_after_all", TX)]
        # Whether the owner gives it back is for people to say: nothing moved by itself.
        assert (Payout.objects.get().status, earned()) == ("FAILED", 100 * USD)
        assert not SentTransaction.objects.exclude(due_at=None).exists()

    def test_so_does_one_that_was_replaced_and_mined_too(self, node, noted, fred, earned):
        payout = noted()
        node.wait(TX, nonce=0)
        note(payout, OTHER_TX, fred)
        shown(node, OTHER_TX)
        shown(node, TX)
        node.height += 4
        services.sweep(now=later(minutes=5))
        assert (Payout.objects.get().status, earned()) == ("PAID", 60 * USD)
        assert reviews() == [("payout_sent_after_all", TX)]

    def test_and_while_it_may_be_mined_it_keeps_the_payout_from_being_given_up(self, node, noted, fred, gina):
        payout = noted()
        node.wait(TX)
        note(payout, OTHER_TX, fred)
        with pytest.raises(Conflict, match=f"{TX} may still be mined"):
            give_up(payout, gina)

    def test_the_one_that_took_its_nonce_ends_the_search(self, node, noted, fred):
        payout = noted()
        node.wait(TX, nonce=0)
        services.sweep(now=later(minutes=1))
        note(payout, OTHER_TX, fred)
        node.mempool.clear()
        shown(node, OTHER_TX)
        node.height, node.nonce = node.height + 4, 1
        services.sweep(now=later(minutes=5))
        assert (Payout.objects.get().status, reviews()) == ("PAID", [])
        assert not SentTransaction.objects.exclude(due_at=None).exists()

    def test_of_what_no_node_ever_knew_nobody_asks_for_ever(self, node, noted, gina):
        give_up(noted(), gina)
        services.sweep(now=later(days=80))
        assert SentTransaction.objects.exclude(due_at=None).exists()
        services.sweep(now=later(days=100))
        assert not SentTransaction.objects.exclude(due_at=None).exists()


SENT = "0x" + "7" * 64


@pytest.fixture
def to_refund(node, lab, alice, fay):
    """A refund of what came in on the chain."""
    payment = services.start_payment(account=lab, provider="onchain", amount=20 * USD, by=alice, now=clock.now())
    services.sweep(now=clock.now())
    payment.refresh_from_db()
    node.pay(int(payment.chain.units), node.height + 1)
    node.height += 5
    services.sweep(now=later(minutes=5))
    asked = services.request_refund(payment_id=payment.pk, amount=5 * USD, reason="x", by=fay, now=clock.now())
    node.pay(5 * USD, node.height, to=SENDER, tx=SENT)
    node.height += 4
    return asked


class TestRefund:
    """It goes by hand, and the nodes have to show it before it is noted."""

    @pytest.mark.parametrize(
        ("paid", "deep", "why"),
        [
            (None, 9, "no such transaction"),
            ({"units": 5 * USD, "token": THEIRS}, 9, "sends no USDC"),
            ({"units": 5 * USD, "to": OURS}, 9, "sends no USDC"),
            ({"units": 4_999_999}, 9, "sends 4999999 units, and this refund is of 5000000"),
            ({"units": 5 * USD}, 3, "3 of 4 confirmations"),
            ({"units": 5 * USD, "block": 99}, 9, "older than the payment"),
        ],
    )
    def test_what_the_chain_does_not_show_is_not_noted(self, node, to_refund, fred, wallet, paid, deep, why):
        left = wallet()
        if paid is not None:
            node.pay(**{"to": SENDER, "tx": OTHER_TX, "block": node.height + 1, **paid})
        node.height += deep
        with pytest.raises(Conflict, match=why) as refusal:
            services.note_sent(refund=to_refund, reference=OTHER_TX, by=fred, now=clock.now())
        assert refusal.value.attr == "reference"
        to_refund.refresh_from_db()
        assert (to_refund.status, to_refund.hold.state, wallet()) == ("REQUESTED", "open", left)

    def test_nor_what_failed_there(self, node, to_refund, fred):
        node.answers["eth_getTransactionReceipt"] = {"status": "0x0", "logs": []}
        with pytest.raises(Conflict, match="failed on the chain"):
            services.note_sent(refund=to_refund, reference=SENT, by=fred, now=clock.now())

    def test_nor_anything_while_nobody_can_tell(self, node, to_refund, fred):
        node.answers["eth_blockNumber"] = b"no"
        with pytest.raises(Conflict, match="nobody can tell"):
            services.note_sent(refund=to_refund, reference=SENT, by=fred, now=clock.now())

    def test_what_it_shows_is_noted_and_a_second_is_one_too_many(self, node, to_refund, fred):
        node.pay(5 * USD, node.height, to=SENDER, tx=OTHER_TX)
        node.height += 4
        for _ in range(2):
            done = services.note_sent(refund=to_refund, reference=f" {SENT} ", by=fred, now=clock.now())
            assert (done.status, done.reference) == ("SUCCEEDED", SENT)
        with pytest.raises(Conflict, match="one too many"):
            services.note_sent(refund=to_refund, reference=OTHER_TX, by=fred, now=clock.now())

    def test_of_a_chain_that_is_not_set_up_any_more_the_word_of_people_counts(self, node, to_refund, fred, monkeypatch):
        monkeypatch.delitem(PROVIDERS, "onchain")
        done = services.note_sent(refund=to_refund, reference=OTHER_TX, by=fred, now=clock.now())
        assert done.status == "SUCCEEDED"


class TestOneUse:
    def test_of_a_payout_is_no_refund_besides(self, noted, to_refund, fred):
        noted(SENT)
        with pytest.raises(services.ReferenceUsed, match="payout"):
            services.note_sent(refund=to_refund, reference=SENT, by=fred, now=clock.now())

    def test_of_a_refund_is_no_payout_besides(self, noted, to_refund, fred):
        services.note_sent(refund=to_refund, reference=SENT, by=fred, now=clock.now())
        with pytest.raises(services.ReferenceUsed, match="refund"):
            noted(SENT)

    def test_the_table_itself_refuses_a_second(self, noted, to_refund):
        noted(SENT)
        with pytest.raises(IntegrityError), transaction.atomic():
            SentTransaction.objects.create(chain_id=1, tx_hash=SENT, refund=to_refund)


def test_what_was_sent_before_the_table_was_there_is_put_into_it(noted, to_refund, fred):
    payout = noted(TX)
    services.note_sent(refund=to_refund, reference=SENT, by=fred, now=clock.now())
    SentTransaction.objects.all().delete()
    for _ in range(2):
        import_module("payments.migrations.0014_transactions_sent_before").note(apps, None)
    rows = SentTransaction.objects.order_by("tx_hash").values_list("chain_id", "tx_hash", "payout", "refund")
    assert list(rows) == [(1, TX, payout.pk, None), (1, SENT, None, to_refund.pk)]


@pytest.mark.usefixtures("postgresql")
@pytest.mark.django_db(transaction=True)
def test_one_hash_at_the_same_instant_for_a_refund_and_a_payout_of_another_account(
    node, agreed, to_refund, charlie, fred, gina
):
    """The payout's transaction is not over when the refund names the hash: neither sees the other's row."""
    from accounts.models import Account

    type(to_refund.payment).objects.filter(pk=to_refund.payment_id).update(
        account=Account.objects.create(name="Elsewhere")
    )
    payout = services.begin_sending(payout=agreed(40, "onchain"), by=fred, now=clock.now())
    outcomes: list[str] = []
    is_noted, is_waiting = threading.Event(), threading.Event()

    def refund() -> None:
        try:
            assert is_noted.wait(60)
            services.note_sent(refund=to_refund, reference=SENT, by=gina, now=clock.now())
            outcomes.append("refund")
        except services.ReferenceUsed:
            outcomes.append("refused")
        finally:
            connections.close_all()

    def until_it_waits() -> None:
        with connections["default"].cursor() as cursor:
            for _ in range(600):
                cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                if cursor.fetchone()[0] or outcomes:
                    return
                is_waiting.wait(0.1)

    thread = threading.Thread(target=refund)
    thread.start()
    with transaction.atomic():
        note(payout, SENT, fred)
        is_noted.set()
        until_it_waits()
    thread.join()
    assert outcomes == ["refused"]


class TestReconcile:
    def test_what_went_on_a_chain_of_before_leaves_the_rest_to_be_said(self, node, noted):
        payout = noted()
        shown(node)
        node.height += 4
        services.sweep(now=later(minutes=5))
        Payout.objects.filter(pk=payout.pk).update(instructions={**payout.instructions, "chain_id": "2"})
        moment = hex(int(clock.now().timestamp()))
        node.answers["eth_getBlockByNumber"] = lambda asked: {
            "hash": "0x" + asked[0][2:].rjust(64, "0"),
            "timestamp": moment,
        }
        (found,) = services.reconcile(since=later(days=-1), now=later(hours=1))
        (said,) = found.differences
        assert "went on chain 2" in said

    def test_what_was_noted_and_left_behind_is_named(self, node, to_refund, fred):
        services.note_sent(refund=to_refund, reference=SENT, by=fred, now=clock.now())
        moment = hex(int(clock.now().timestamp()))
        node.answers["eth_getBlockByNumber"] = lambda asked: {
            "hash": "0x" + asked[0][2:].rjust(64, "0"),
            "timestamp": moment,
        }
        for is_there in (True, False):
            if not is_there:
                node.logs = [log for log in node.logs if log["transactionHash"] != SENT]
            (found,) = services.reconcile(since=later(days=-1), now=later(hours=1))
            said = [text for text in found.differences if f"The refund {to_refund.pk} of 5.000000 USD" in text]
            assert len(said) == (0 if is_there else 1)
            assert all("not on the chain: The chain has no such transaction (yet)." in text for text in said)
