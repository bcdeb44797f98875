"""localstripe, a Stripe of somebody else's making, as a process of its own on loopback.

`python -m tests.systems.localstripe_server PORT` serves it. It speaks an API of 2017, so three things are put right
around it and nothing else: an intent takes `automatic_payment_methods` and has an `amount_received`, without which
no request of today gets through; it listens on loopback alone; and it writes nothing to /tmp.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.peers import Missing, free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120


@dataclass(frozen=True)
class Server:
    """Where it listens, and the file of its log."""

    url: str
    log: Path

    def send_events(self, name: str, *, to: str, secret: str, kinds: list[str]) -> None:
        """Have it tell of events; each is sent once, a second after it happened, whatever the answer."""
        told = {"url": to, "secret": secret, "events": kinds}
        httpx.post(f"{self.url}/_config/webhooks/{name}", json=told, timeout=60).raise_for_status()

    def authenticate(self, intent: str, client_secret: str, *, success: bool) -> None:
        """Answer the question of the card's bank, as the payer's browser does."""
        told = {"key": "pk_test_browser", "client_secret": client_secret, "success": str(success).lower()}
        url = f"{self.url}/v1/payment_intents/{intent}/_authenticate"
        httpx.post(url, data=told, timeout=60).raise_for_status()


@contextmanager
def localstripe(folder: Path) -> Iterator[Server]:
    """Run one on a free port, its log in the folder. Raises Missing where it is not installed."""
    if importlib.util.find_spec("localstripe") is None:
        raise Missing("localstripe is not installed: `make dev` installs it")
    port, log = free_port(), folder / "localstripe.log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "tests.systems.localstripe_server", str(port)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    server = Server(f"http://127.0.0.1:{port}", log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                httpx.get(f"{server.url}/js.stripe.com/v3/", timeout=2).raise_for_status()
                break
            except httpx.HTTPError:
                assert process.poll() is None, f"localstripe ended: {log.read_text()[-2000:]}"
                assert time.monotonic() < deadline, "localstripe does not answer"
                time.sleep(0.05)
        yield server
    finally:
        process.terminate()
        process.wait(60)


def serve(port: int) -> None:
    import logging

    from aiohttp import web
    from localstripe.resources import PaymentIntent, Store
    from localstripe.server import app

    made = PaymentIntent.__init__

    def make(self: Any, *, automatic_payment_methods: Any = None, **fields: Any) -> None:
        made(self, **fields)

    def received(self: Any) -> int:
        return int(self.amount) if self.status == "succeeded" else 0

    PaymentIntent.__init__ = make
    PaymentIntent.amount_received = property(received)
    Store.dump_to_disk = lambda self: None
    logging.basicConfig(level=logging.INFO)
    web.run_app(app, host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
