"""A real EVM node on loopback: anvil, from npm, with the little of its own that tests need."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.peers import free_port
from tests.systems import npm

VERSION = "1.7.1"
# The first accounts that every anvil has, unlocked.
PAYER, OTHER = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266", "0x70997970c51812dc3a010c7d01b50e0d17dc79c8"
OURS = "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc"
TRANSFER = "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


def binary() -> str:
    """Find anvil: ANVIL, PATH, or what npm put into build/anvil. Raises Missing."""
    return npm.program("anvil", f"@foundry-rs/anvil@{VERSION}", folder="anvil")


class Node:
    """Speak to one node; blocks are mined when a test says so."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = httpx.post(self.url, json=body, timeout=60).json()
        assert "error" not in answer, answer
        return answer["result"]

    def mine(self, blocks: int = 1) -> None:
        self.call("anvil_mine", hex(blocks))

    def send(self, to: str | None, *, value: int = 0, data: str = "0x", by: str = PAYER, mined: bool = True) -> str:
        fields: dict[str, Any] = {"from": by, "value": hex(value), "data": data, "gas": hex(1_000_000)}
        if to:
            fields["to"] = to
        tx_hash = self.call("eth_sendTransaction", fields)
        if mined:
            self.mine()
        return str(tx_hash)

    def deploy(self, code: bytes) -> str:
        """Put a contract with this run-time code on the chain and give its address."""
        size = len(code).to_bytes(2)
        # CODECOPY the rest of this program to memory and return it.
        init = b"\x61" + size + b"\x80\x60\x0c\x60\x00\x39\x60\x00\xf3" + code
        receipt = self.call("eth_getTransactionReceipt", self.send(None, data="0x" + init.hex()))
        return str(receipt["contractAddress"]).lower()

    def token(self, *, fee: int = 0, fails: bool = False) -> str:
        """Deploy what looks like a token in a receipt: `transfer` logs Transfer of the amount less a fee."""
        if fails:
            return self.deploy(bytes.fromhex("60006000fd"))  # REVERT
        topic = bytes.fromhex(TRANSFER)
        # mem[0] = calldata[36:68] - fee; LOG3(mem[0:32], Transfer, caller, calldata[4:36])
        code = b"\x61" + fee.to_bytes(2) + b"\x60\x24\x35\x03\x60\x00\x52"
        code += b"\x60\x04\x35\x33\x7f" + topic + b"\x60\x20\x60\x00\xa3\x00"
        return self.deploy(code)

    def transfer(self, token: str, units: int, *, to: str = OURS, by: str = PAYER, mined: bool = True) -> str:
        data = "0xa9059cbb" + to[2:].rjust(64, "0") + f"{units:064x}"
        return self.send(token, data=data, by=by, mined=mined)

    def snapshot(self) -> str:
        return str(self.call("evm_snapshot"))

    def revert(self, snapshot: str) -> None:
        """Leave behind every block since the snapshot, as a reorganisation does."""
        assert self.call("evm_revert", snapshot)


@contextmanager
def anvil(chain_id: int = 31337, *, began_at: int | None = None) -> Iterator[Node]:
    """Run a node of its own on a free port; the clock of its blocks begins at a moment in seconds, else now."""
    port = free_port()
    command = [binary(), "--port", str(port), "--host", "127.0.0.1", "--chain-id", str(chain_id), "--no-mining"]
    if began_at is not None:
        command += ["--timestamp", str(began_at)]
    process = subprocess.Popen([*command, "--silent"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    node = Node(f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                node.call("eth_chainId")
                break
            except httpx.HTTPError:
                assert process.poll() is None, "anvil ended"
                assert time.monotonic() < deadline, "anvil does not answer"
                time.sleep(0.05)
        yield node
    finally:
        process.terminate()
        process.wait(60)
