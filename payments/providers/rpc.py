"""JSON-RPC to the nodes of one chain. All that are configured must say the same, or nothing is known."""

from __future__ import annotations

from typing import Any

import httpx

from payments.providers import ProviderUnreachable

TIMEOUT_SECONDS = 15


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

    def height(self) -> int:
        """Give the newest block that every node has."""
        return min(int(_ask(url, "eth_blockNumber", ()), 16) for url in self.urls)


def _ask(url: str, method: str, params: Any) -> Any:
    try:
        answer = httpx.post(
            url,
            json={"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)},
            timeout=TIMEOUT_SECONDS,
            follow_redirects=False,
        )
        answer.raise_for_status()
        body = answer.json()
    except (httpx.HTTPError, ValueError) as trouble:
        raise ProviderUnreachable(f"A node of the chain does not answer: {type(trouble).__name__}.") from trouble
    if not isinstance(body, dict) or "error" in body or "result" not in body:
        raise ProviderUnreachable(f"A node of the chain does not answer {method}.")
    return body["result"]
