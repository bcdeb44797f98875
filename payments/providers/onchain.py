"""Payments on an EVM chain: its coin or one ERC-20 token, seen by JSON-RPC and never signed here.

A transaction is public, so the first to paste its hash must not win: a payment waits for a number of units that no
other open payment waits for. It counts once it succeeded, went to our address by the very token's contract, was
mined after the payment began, and has N confirmations on a chain that still has its block.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gaas.lib.errors import DomainError
from payments.models import Payment, Payout, Refund
from payments.providers import Begun, Listed, ProviderRefused, ProviderUnreachable, Seen
from payments.providers.rpc import Nodes, number

# keccak256("Transfer(address,address,uint256)"), the event of ERC-20.
TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
MICRO = 1_000_000
MOST_TAIL = 9_999
MOST_BLOCKS = 2_000
# Stretches of so many blocks at one look: chains with four blocks a second grow by 15 000 in the hour between two.
MOST_STRETCHES = 10
# As far back a payout is looked for that may have gone by another transaction: for weeks, and in a minute.
LOOK_BACK_BLOCKS = 100 * MOST_BLOCKS
_HASH = re.compile(r"0x[0-9a-f]{64}", re.ASCII)


class NotFoundYet(Exception):
    """State that nothing on the chain is this payment, and why, in a sentence for the payer."""


@dataclass(frozen=True)
class Chain:
    """What the platform takes: `decimals` of the coin or token, `usd_micro` the price of one (a dollar token: 10⁶)."""

    chain_id: int
    receiver: str
    token: str
    symbol: str
    decimals: int
    usd_micro: int
    confirmations: int

    def units_of(self, micro: int) -> int:
        """Give how many units are worth so many micro-dollars, rounded up."""
        return -(-micro * 10**self.decimals // self.usd_micro)


@dataclass(frozen=True)
class Wanted:
    """What a transaction of ours has to do: see ChainIntent."""

    token: str
    symbol: str
    receiver: str
    units: str
    from_block: int
    tx_hash: str
    chain_id: int


@dataclass(frozen=True)
class Whereabouts:
    """Say where a transaction is that was named for a payout.

    `shown`: it pays that payout, `confirmations` deep. `waiting`: it may still be mined. `dead`: it never will be, or
    is no such payment. `unseen`: no node has heard of it, which says nothing about tomorrow.
    """

    state: str
    detail: str
    confirmations: int = 0
    sender: str = ""
    nonce: int | None = None


class OnchainProvider:
    """Look at one chain through its nodes."""

    methods: tuple[str, ...] = ("transfer",)

    def __init__(self, chain: Chain, urls: list[str]) -> None:
        self.chain, self.nodes = chain, Nodes(urls)

    def check(self, amount: int) -> None:
        """Take any amount."""

    def ask_for(self, micro: int) -> tuple[int, int]:
        """Give the units to ask for and what they are worth: the amount and a small tail that tells payments apart."""
        chain, tail = self.chain, secrets.randbelow(MOST_TAIL) + 1
        if chain.usd_micro == MICRO and chain.decimals >= 6:
            return chain.units_of(micro + tail), micro + tail
        # A tail that is worth nothing beside the amount: billionths of the coin, or its units where it has fewer.
        return chain.units_of(micro) + tail * 10 ** max(0, chain.decimals - 9), micro

    def begin(self, payment: Payment) -> Begun:
        self._require_chain()
        told = self._told(payment.chain.receiver, payment.chain.units)
        return Begun(height=self.nodes.height(), instructions=told)

    def _require_chain(self) -> None:
        if number(self.nodes.agreed("eth_chainId")) != self.chain.chain_id:
            raise ProviderUnreachable("The nodes are of another chain than the one that is set up.")

    def _told(self, receiver: str, units: str) -> dict[str, str]:
        """Say what to send to where."""
        chain = self.chain
        whole, part = divmod(int(units), 10**chain.decimals)
        return {
            "chain_id": str(chain.chain_id),
            "send_to": receiver,
            "token": chain.token,
            "symbol": chain.symbol,
            "units": units,
            "amount": f"{whole}.{part:0{chain.decimals}d}".rstrip("0").rstrip("."),
            "confirmations": str(chain.confirmations),
        }

    def payout_terms(self, payout: Payout) -> dict[str, str]:
        """Say what a person has to send, rounded down to whole units, and after which block it counts."""
        self._require_chain()
        units = payout.net * 10**self.chain.decimals // self.chain.usd_micro
        return self._told(payout.destination.detail, str(units)) | {"from_block": str(self.nodes.height())}

    def look_payout(self, payout: Payout) -> Seen:
        """Look at the transaction that was noted: it must send these very units there, deep enough in the chain."""
        wanted = self._of_payout(payout, payout.reference)
        with _sense():
            facts: dict[str, Any] = {"height": self.nodes.height()}
            try:
                found = self._in_transaction(wanted)
            except NotFoundYet as nothing:
                return Seen("pending", detail=str(nothing), facts=facts)
            return self._deep(found, wanted, facts, payout.net)

    def _of_payout(self, payout: Payout, tx_hash: str) -> Wanted:
        told = payout.instructions
        if told["chain_id"] != str(self.chain.chain_id):
            raise ProviderUnreachable("The payout went on another chain than the one that is set up.")
        return Wanted(
            token=told["token"],
            symbol=told["symbol"],
            receiver=told["send_to"].lower(),
            units=told["units"],
            from_block=int(told["from_block"]),
            tx_hash=tx_hash,
            chain_id=self.chain.chain_id,
        )

    def locate(self, payout: Payout, tx_hash: str, *, sender: str = "", nonce: int | None = None) -> Whereabouts:
        """Tell whether a transaction that was named for a payout was mined, or ever may be.

        A sender's transactions are mined in the order of their nonces, one for each: once another one with its nonce
        lies `confirmations` deep, it never will be. `sender` and `nonce` are what was seen of it before.
        """
        wanted = self._of_payout(payout, tx_hash)
        with _sense():
            height = self.nodes.height()
            known = self.nodes.any_of("eth_getTransactionByHash", tx_hash)
            if known is not None:
                sender, nonce = known["from"].lower(), number(known["nonce"])
            place = known and known["blockNumber"]
            if place is not None:
                deep = height - number(place) + 1
                try:
                    self._in_transaction(wanted)
                except NotFoundYet as other:
                    state = "dead" if deep >= self.chain.confirmations else "waiting"
                    return Whereabouts(state, str(other), sender=sender, nonce=nonce)
                return Whereabouts("shown", "The chain shows it.", max(1, deep), sender, nonce)
            if known is not None:
                return Whereabouts("waiting", "It waits to be mined.", sender=sender, nonce=nonce)
            if nonce is None:
                return Whereabouts("unseen", "The chain has no such transaction (yet).")
            settled = hex(max(0, height - self.chain.confirmations + 1))
            if number(self.nodes.agreed("eth_getTransactionCount", sender, settled)) > nonce:
                why = f"Another transaction of {sender} with its nonce {nonce} was mined: it never will be."
                return Whereabouts("dead", why, sender=sender, nonce=nonce)
            why = f"The nodes knew it and forgot it; until {sender} uses its nonce {nonce} it may still be mined."
            return Whereabouts("waiting", why, sender=sender, nonce=nonce)

    def sent_anew(self, payout: Payout, *, sender: str) -> list[str]:
        """List the transactions by which a sender sent a payout's very units there since it was taken over.

        A wallet that speeds one up sends it by another hash. A coin leaves nothing to be listed.
        """
        wanted = self._of_payout(payout, "")
        if not wanted.token:
            return []
        with _sense():
            height = self.nodes.height()
            begin, found = max(wanted.from_block + 1, height - LOOK_BACK_BLOCKS), []
            while begin <= height:
                end = min(height, begin + MOST_BLOCKS)
                found += [log for log in self._transfers(wanted, begin, end) if log["topics"][1] == _topic(sender)]
                begin = end + 1
            return [str(log["transactionHash"]).lower() for log in found]

    def look(self, payment: Payment) -> Seen:
        intent = payment.chain
        if intent.chain_id != self.chain.chain_id:
            raise ProviderUnreachable("The payment is to come on another chain than the one that is set up.")
        with _sense():
            return self._seen(payment, intent)

    def _seen(self, payment: Payment, intent: Any) -> Seen:
        if intent.from_block is None:
            return Seen("pending", detail="This payment never began: nobody was told what to send.")
        facts: dict[str, Any] = {"height": self.nodes.height()}
        try:
            found = self._found(intent, facts)
        except NotFoundYet as nothing:
            return Seen("pending", detail=str(nothing), facts=facts)
        return self._deep(found, intent, facts, payment.amount)

    def _deep(self, found: dict[str, Any], intent: Any, facts: dict[str, Any], amount: int) -> Seen:
        """Let what was found count once it has its confirmations."""
        deep = facts["height"] - found["block"] + 1
        facts |= {"confirmations": max(0, deep), "tx_hash": found["hash"]}
        if deep < self.chain.confirmations:
            return Seen("pending", facts=facts)
        place = f"{intent.chain_id}:{found['hash']}:{found['index']}"
        return Seen("succeeded", amount, facts=facts, provider_id=place)

    def give_up(self, payment: Payment) -> Seen:
        """Look on: nobody can be kept from paying, unless nobody was told what to pay."""
        seen = self.look(payment)
        return seen if payment.chain.from_block is not None else Seen("cancelled", detail=seen.detail)

    def listed(self, since: datetime) -> Iterable[Listed]:
        """List the token's transfers to our address since a moment; a coin leaves none to be listed."""
        if not self.chain.token:
            return
        with _sense():
            head = self.nodes.height() - self.chain.confirmations + 1
            begin = self._block_at(int(since.timestamp()), head)
            while begin <= head:
                end = min(head, begin + MOST_BLOCKS)
                for log in self._came_in(begin, end):
                    height = number(log["blockNumber"])
                    place = f"{self.chain.chain_id}:{log['transactionHash'].lower()}:{number(log['logIndex'])}"
                    worth = _units(log) * self.chain.usd_micro // 10**self.chain.decimals
                    yield Listed("payment", place, worth, datetime.fromtimestamp(self._time_of(height), UTC))
                begin = end + 1

    def _came_in(self, begin: int, end: int) -> list[dict[str, Any]]:
        wanted = Wanted(
            token=self.chain.token,
            symbol=self.chain.symbol,
            receiver=self.chain.receiver,
            units="",
            from_block=0,
            tx_hash="",
            chain_id=self.chain.chain_id,
        )
        return [log for log in self._logs(wanted, begin, end) if self._is_transfer_to_us(log, wanted)]

    def _block_at(self, moment: int, head: int) -> int:
        """Find the first block that is not older than a moment, by halving."""
        low, high = 0, head
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self._time_of(middle) < moment else (low, middle)
        return low

    def _time_of(self, height: int) -> int:
        return number(self.nodes.agreed("eth_getBlockByNumber", hex(height), False)["timestamp"])

    def refund(self, refund: Refund) -> tuple[str, Seen]:
        """Refuse: the platform signs nothing on a chain."""
        raise ProviderRefused("sent_by_hand", "Send it on the chain yourself, then note the transaction's hash.")

    def why_not_sent(self, refund: Refund, tx_hash: str) -> str:
        """Say why a transaction cannot be how a refund went; empty where it can.

        It must send on what the payment came in, deep enough, and of a dollar token just what goes back. To whom is
        for people to know: what came from an exchange does not go back to where it came from.
        """
        chain, intent = self.chain, refund.payment.chain
        with _sense():
            height = self.nodes.height()
            receipt = self.nodes.agreed("eth_getTransactionReceipt", tx_hash)
            sent = self.nodes.agreed("eth_getTransactionByHash", tx_hash)
            if receipt is None or sent is None or sent["blockNumber"] is None:
                return "The chain has no such transaction (yet)."
            if receipt["status"] != "0x1":
                return "This transaction failed on the chain: nothing was moved."
            if number(sent["blockNumber"]) <= (intent.from_block or 0):
                return "This transaction is older than the payment."
            if intent.token:
                logs = [log for log in receipt["logs"] if _is_transfer(log) and log["address"].lower() == intent.token]
                went = [_units(log) for log in logs if log["topics"][2] != _topic(intent.receiver)]
            else:
                went = [int(sent["value"], 16)] if (sent["to"] or "").lower() != intent.receiver else []
            if not any(went):
                return f"This transaction sends no {intent.symbol} of the right contract to anybody."
            wanted = refund.amount * 10**chain.decimals // chain.usd_micro
            if intent.token and intent.token == chain.token and chain.usd_micro == MICRO and wanted not in went:
                return f"This transaction sends {max(went)} units, and this refund is of {wanted}."
            deep = height - number(sent["blockNumber"]) + 1
            if deep < chain.confirmations:
                return f"It has {max(0, deep)} of {chain.confirmations} confirmations: note it when it has all."
            return ""

    def _found(self, intent: Any, facts: dict[str, Any]) -> dict[str, Any]:
        """Find it in the transaction that was named, and else among all: a wrong name hides nothing."""
        if not intent.tx_hash:
            return self._among_logs(intent, facts)
        try:
            return self._in_transaction(intent)
        except NotFoundYet as named:
            try:
                return self._among_logs(intent, facts)
            except NotFoundYet:
                raise named from None

    def _in_transaction(self, intent: Any) -> dict[str, Any]:
        """Find the payment in the transaction that was named. Raises NotFoundYet with what is wrong about it."""
        receipt = self.nodes.agreed("eth_getTransactionReceipt", intent.tx_hash)
        if receipt is None:
            raise NotFoundYet("The chain has no such transaction (yet).")
        if receipt["status"] != "0x1":
            raise NotFoundYet("This transaction failed on the chain: nothing was moved.")
        if intent.token:
            logs = [log for log in receipt["logs"] if self._is_transfer_to_us(log, intent)]
            if not logs:
                raise NotFoundYet(
                    f"This transaction sends no {intent.symbol} of the right contract to the right address."
                )
            return self._one_of(logs, intent)
        sent = self.nodes.agreed("eth_getTransactionByHash", intent.tx_hash)
        if (sent["to"] or "").lower() != intent.receiver:
            raise NotFoundYet("This transaction does not go to the right address.")
        self._require_units(int(sent["value"], 16), intent)
        return self._placed(sent["hash"], sent["blockNumber"], sent["blockHash"], -1, intent)

    def _among_logs(self, intent: Any, facts: dict[str, Any]) -> dict[str, Any]:
        """Find the payment among all that came in since it began, a stretch of blocks at a time.

        What was searched is searched again as far back as a block may still be left behind. A coin leaves no logs:
        its payer has to name the transaction.
        """
        if not intent.token:
            raise NotFoundYet("")
        begin = max(intent.from_block + 1, (intent.searched_to or 0) - self.chain.confirmations)
        for _ in range(MOST_STRETCHES):
            end = min(facts["height"], begin + MOST_BLOCKS)
            if begin > end:
                break
            if exact := self._transfers(intent, begin, end):
                return self._one_of(exact, intent)
            facts["searched_to"], begin = end, end + 1
        raise NotFoundYet("")

    def _transfers(self, intent: Any, begin: int, end: int) -> list[dict[str, Any]]:
        """Give what came in of the very units; nodes are asked for our token and address, and checked."""
        ours = [log for log in self._logs(intent, begin, end) if self._is_transfer_to_us(log, intent)]
        return [log for log in ours if _units(log) == int(intent.units)]

    def _logs(self, intent: Any, begin: int, end: int) -> list[dict[str, Any]]:
        asked = {"address": intent.token, "fromBlock": hex(begin), "toBlock": hex(end)}
        logs: list[dict[str, Any]] = self.nodes.agreed(
            "eth_getLogs", {**asked, "topics": [TRANSFER, None, _topic(intent.receiver)]}
        )
        return logs

    def _is_transfer_to_us(self, log: dict[str, Any], intent: Any) -> bool:
        is_ours = _is_transfer(log) and log["topics"][2] == _topic(intent.receiver)
        return is_ours and log["address"].lower() == intent.token

    def _one_of(self, logs: list[dict[str, Any]], intent: Any) -> dict[str, Any]:
        exact = [log for log in logs if _units(log) == int(intent.units)]
        if not exact:
            self._require_units(_units(logs[0]), intent)
        log = exact[0]
        index = number(log["logIndex"])
        return self._placed(log["transactionHash"], log["blockNumber"], log["blockHash"], index, intent)

    def _require_units(self, came: int, intent: Any) -> None:
        if came != int(intent.units):
            raise NotFoundYet(f"This transaction sends {came} units, and this payment asks for exactly {intent.units}.")

    def _placed(self, tx_hash: str, height: str | None, block: str, index: int, intent: Any) -> dict[str, Any]:
        """Give where it stands. Raises NotFoundYet for a block before the payment, or one that was left behind."""
        if height is None:
            raise NotFoundYet("This transaction is not mined yet.")
        if not _HASH.fullmatch(tx_hash.lower()):
            raise ValueError("That is no hash.")
        # That block was there when the payment began.
        if number(height) <= intent.from_block:
            raise NotFoundYet("This transaction is older than the payment.")
        canonical = self.nodes.agreed("eth_getBlockByNumber", height, False)
        if canonical is None or canonical["hash"] != block:
            raise NotFoundYet("The chain has left this transaction's block behind; it has to be mined again.")
        return {"hash": tx_hash.lower(), "block": number(height), "index": index}


@contextmanager
def _sense() -> Iterator[None]:
    """Take an answer of a shape that no node gives for none at all."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as nonsense:
        raise ProviderUnreachable("A node of the chain answers nonsense.") from nonsense


def address_of(text: str, name: str) -> str:
    """Give an address in lower case. Raises DomainError for what is none."""
    lower = text.strip().lower()
    if len(lower) != 42 or not lower.startswith("0x") or not set(lower[2:]) <= set("0123456789abcdef"):
        raise DomainError(f"{name} is no address of a chain.", code="invalid")
    return lower


def _is_transfer(log: dict[str, Any]) -> bool:
    return len(log["topics"]) == 3 and log["topics"][0] == TRANSFER


def _topic(address: str) -> str:
    return "0x" + address[2:].rjust(64, "0")


def _units(log: dict[str, Any]) -> int:
    return int(log["data"], 16) if log["data"] not in ("0x", "") else 0
