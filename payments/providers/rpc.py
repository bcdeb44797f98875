"""JSON-RPC to the nodes of one chain. All that are configured must say the same, or nothing is known."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import httpx

from payments.providers import ProviderUnreachable

TIMEOUT_SECONDS = 15
# A stretch of blocks of a busy token, and not what fills the memory of a worker.
MOST_BYTES = 8_000_000
HIGHEST = 2**53
_COUNT = re.compile(r"0x[0-9a-fA-F]{1,16}", re.ASCII)


class Nodes:
    """Ask every node; `urls` in the order of trust, which matters for nothing but messages."""

    def __init__(self, urls: list[str]) -> None:
        self.urls = urls

    def agreed(self, method: str, *params: Any) -> Any:
        """Give the answer on which all nodes agree. Raises ProviderUnreachable where one is down or differs."""
        answers = [_ask(url, method, params) for url in self.urls]
        if any(answer != answers[0] for answer in answers):
            raise ProviderUnreachable(f"The chain's nodes disagree about {method}.")
        return answers[0]

    def any_of(self, method: str, *params: Any) -> Any:
        """Give the first answer that is not null: what one node has not heard of, another may know. All must answer."""
        answers = [_ask(url, method, params) for url in self.urls]
        return next((answer for answer in answers if answer is not None), None)

    def height(self) -> int:
        """Give the newest block that every node has."""
        return min(number(_ask(url, "eth_blockNumber", ())) for url in self.urls)


def number(text: Any) -> int:
    """Read a count such as "0x1b". Raises ProviderUnreachable for what is none, or no node can have counted to."""
    if not isinstance(text, str) or not _COUNT.fullmatch(text) or int(text, 16) > HIGHEST:
        raise ProviderUnreachable("A node of the chain answers what is no number.")
    return int(text, 16)


def _ask(url: str, method: str, params: Any) -> Any:
    try:
        body = json.loads(_read(url, {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}))
    except (httpx.HTTPError, ValueError, RecursionError) as trouble:
        raise ProviderUnreachable(f"A node of the chain does not answer: {type(trouble).__name__}.") from trouble
    if not isinstance(body, dict) or "error" in body or "result" not in body:
        raise ProviderUnreachable(f"A node of the chain does not answer {method}.")
    return body["result"]


def _read(url: str, asked: dict[str, Any]) -> bytes:
    """Read an answer while it comes, so that neither its length nor its slowness is the node's to choose."""
    began, body = time.monotonic(), bytearray()
    with httpx.stream("POST", url, json=asked, timeout=TIMEOUT_SECONDS, follow_redirects=False) as answer:
        answer.raise_for_status()
        for part in answer.iter_bytes():
            body += part
            if len(body) > MOST_BYTES or time.monotonic() - began > TIMEOUT_SECONDS:
                raise ProviderUnreachable("A node of the chain answers too much, or too slowly.")
    return bytes(body)
