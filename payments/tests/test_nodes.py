"""What comes late on a chain, and nodes that answer nonsense: over a socket, by a node that says what it is told.

It is no chain: `tests/systems/test_chain.py` has a real one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from gaas.lib import clock
from payments import services
from payments.models import Payment, Review
from payments.providers import PROVIDERS
from payments.providers.onchain import TRANSFER, Chain, OnchainProvider
from payments.tests.conftest import USD

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

OURS, TOKEN, THEIRS = "0x" + "aa" * 20, "0x" + "bb" * 20, "0x" + "cc" * 20
TX, OTHER_TX = "0x" + "1" * 64, "0x" + "2" * 64
SENDER = "0x" + "dd" * 20


class Node:
    """Answer by method; a value that can be called is given the parameters."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []
        self.height = 100
        self.mempool: dict[str, dict[str, Any]] = {}
        self.nonce = 0  # the first that its sender has not used
        self.answers: dict[str, Any] = {
            "eth_chainId": "0x1",
            "eth_blockNumber": lambda _: hex(self.height),
            "eth_getBlockByNumber": lambda asked: {"hash": "0x" + asked[0][2:].rjust(64, "0")},
            "eth_getLogs": lambda asked: [
                log for log in self.logs if int(asked[0]["fromBlock"], 16) <= int(log["blockNumber"], 16)
            ],
            "eth_getTransactionByHash": lambda asked: self._known(asked[0]),
            "eth_getTransactionCount": lambda _: hex(self.nonce),
            "eth_getTransactionReceipt": lambda asked: next(
                ({"status": "0x1", "logs": [log]} for log in self.logs if log["transactionHash"] == asked[0]), None
            ),
        }

    def _known(self, tx: str) -> Any:
        log = next((log for log in self.logs if log["transactionHash"] == tx), None)
        mined = log and {"from": SENDER, "nonce": "0x0", "blockNumber": log["blockNumber"]}
        return mined or self.mempool.get(tx)

    def wait(self, tx: str, nonce: int = 0) -> None:
        """Have a transaction wait in the mempool."""
        self.mempool[tx] = {"from": SENDER, "nonce": hex(nonce), "blockNumber": None}

    def pay(self, units: int, block: int, *, token: str = TOKEN, to: str = OURS, tx: str = TX) -> None:
        topics = [TRANSFER, "0x" + SENDER[2:].rjust(64, "0"), "0x" + to[2:].rjust(64, "0")]
        self.logs.append(
            {
                "address": token,
                "topics": topics,
                "data": hex(units),
                "logIndex": "0x0",
                "transactionHash": tx,
                "blockNumber": hex(block),
                "blockHash": "0x" + hex(block)[2:].rjust(64, "0"),
            }
        )

    def answer(self, call: dict[str, Any]) -> bytes:
        told = self.answers[call["method"]]
        told = told(call["params"]) if callable(told) else told
        return told if isinstance(told, bytes) else json.dumps({"jsonrpc": "2.0", "id": 1, "result": told}).encode()


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    node = Node()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = node.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    chain = Chain(chain_id=1, receiver=OURS, token=TOKEN, symbol="USDC", decimals=6, usd_micro=USD, confirmations=4)
    monkeypatch.setitem(PROVIDERS, "onchain", OnchainProvider(chain, [f"http://127.0.0.1:{server.server_port}"]))
    yield node
    server.shutdown()
    server.server_close()


@pytest.fixture
def asked(node, lab, alice):
    return services.start_payment(account=lab, provider="onchain", amount=20 * USD, by=alice, now=clock.now())


@pytest.fixture
def begun(asked):
    services.sweep(now=clock.now())
    return fresh(asked)


def fresh(payment):
    return Payment.objects.select_related("chain").get(pk=payment.pk)


def later(**delta):
    return clock.now() + timedelta(**delta)


def units_of(payment):
    return int(payment.chain.units)


class TestLate:
    def test_what_expired_before_its_confirmations_is_credited(self, node, begun, wallet):
        node.pay(units_of(begun), 101)
        node.height = 102
        services.sweep(now=later(days=8))
        services.sweep(now=later(days=8, hours=2))
        assert (fresh(begun).status, wallet()) == ("EXPIRED", 0)
        node.height = 200
        services.sweep(now=later(days=8, hours=4))
        services.sweep(now=later(days=8, hours=6))
        assert (fresh(begun).status, wallet()) == ("SUCCEEDED", begun.amount)

    def test_what_was_cancelled_and_paid_is_found(self, node, begun, alice, wallet):
        services.cancel_payment(payment=begun, by=alice, now=clock.now())
        services.sweep(now=later(hours=2))
        node.pay(units_of(begun), 101)
        node.height = 110
        services.sweep(now=later(days=1))
        assert (fresh(begun).status, wallet()) == ("SUCCEEDED", begun.amount)

    def test_a_hash_named_after_the_end_is_followed_to_its_depth(self, node, begun, alice, wallet):
        services.cancel_payment(payment=begun, by=alice, now=clock.now())
        node.pay(units_of(begun), 101)
        node.height = 101
        services.claim_transaction(payment=begun, tx_hash=TX, by=alice, now=clock.now())
        services.sweep(now=later(seconds=1))
        node.height = 110
        services.sweep(now=later(days=1))
        assert (fresh(begun).status, wallet()) == ("SUCCEEDED", begun.amount)

    def test_after_a_season_nobody_looks_and_its_units_are_free(self, node, begun, alice):
        services.cancel_payment(payment=begun, by=alice, now=clock.now())
        services.sweep(now=later(days=200))
        after = fresh(begun)
        assert (after.look_at, after.chain.is_open) == (None, False)


class TestNotThePayment:
    def test_one_that_never_began_has_no_transaction(self, node, asked, alice, wallet):
        """Nobody was told its units: what came in before is somebody else's."""
        services.cancel_payment(payment=asked, by=alice, now=clock.now())
        node.pay(units_of(fresh(asked)), 50)
        services.claim_transaction(payment=asked, tx_hash=TX, by=alice, now=clock.now())
        services.sweep(now=later(seconds=1))
        services.sweep(now=later(days=1))
        assert (fresh(asked).status, wallet()) == ("CANCELLED", 0)

    def test_nor_one_of_the_block_in_which_it_began(self, node, begun, wallet):
        node.pay(units_of(begun), 100)
        node.height = 110
        services.sweep(now=later(hours=2))
        assert wallet() == 0

    def test_logs_of_another_token_or_receiver_do_not_count(self, node, begun, wallet):
        node.pay(units_of(begun), 101, token=THEIRS)
        node.pay(units_of(begun), 101, to=THEIRS)
        node.height = 110
        services.sweep(now=later(hours=2))
        assert wallet() == 0

    def test_a_wrong_hash_does_not_hide_the_right_transfer(self, node, begun, alice, wallet):
        services.claim_transaction(payment=begun, tx_hash=OTHER_TX, by=alice, now=clock.now())
        services.sweep(now=later(seconds=1))
        assert "no such transaction" in fresh(begun).chain.problem
        node.pay(units_of(begun), 101)
        node.height = 110
        services.sweep(now=later(hours=2))
        assert wallet() == begun.amount

    def test_an_intent_of_another_chain_is_not_looked_for_on_this_one(self, node, begun, wallet):
        begun.chain.chain_id = 11155111
        begun.chain.save()
        node.pay(units_of(begun), 101)
        node.height = 110
        services.sweep(now=later(hours=2))
        assert wallet() == 0


class TestNonsense:
    @pytest.mark.parametrize(
        "logs",
        [
            17,
            "0x",
            [None],
            [{}],
            [{"address": TOKEN, "topics": [], "data": "0x"}],
            [{"address": 5, "topics": [TRANSFER, "", "0x" + OURS[2:].rjust(64, "0")], "data": "zz"}],
        ],
        ids=["number", "text", "nothing", "empty", "bare", "wrong"],
    )
    def test_logs(self, node, begun, logs, wallet):
        node.answers["eth_getLogs"] = logs
        services.follow(payment_id=begun.pk, now=later(hours=2))
        assert (fresh(begun).status, wallet()) == ("PENDING", 0)

    @pytest.mark.parametrize("height", [None, "x", "-0x1", "0x" + "f" * 60, {}, 3], ids=str)
    def test_heights(self, node, begun, height, wallet):
        node.answers["eth_blockNumber"] = height
        services.follow(payment_id=begun.pk, now=later(hours=2))
        assert (fresh(begun).status, wallet()) == ("PENDING", 0)

    @pytest.mark.parametrize(
        "body",
        [b"[" * 100_000, b'{"result": "' + b"x" * 9_000_000 + b'"}', b"\xff\xfe", b"null"],
        ids=["deep", "long", "bytes", "null"],
    )
    def test_bodies(self, node, begun, body, wallet):
        node.answers["eth_blockNumber"] = body
        services.follow(payment_id=begun.pk, now=later(hours=2))
        assert (fresh(begun).status, wallet()) == ("PENDING", 0)
        assert not Review.objects.exists()
