"""Webhooks for tests: on an account, and sent to receivers on loopback."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from accounts.models import Account
from gaas.lib.net import Guard
from gaas.lib.net.addresses import parse_networks
from gaas.lib.net.tests.receivers import Received
from gaas.lib.sealed import seal
from gaas.outbox.models import Webhook

SECRET = "whsec_tests"
HOST = "hook.example"


def a_webhook(account: Account, *, port: int = 8443, **fields: Any) -> Webhook:
    """Make a webhook on an account that leads to a port of loopback, for whoever resolves names as `inside` does."""
    fields = {"url": f"http://{HOST}:{port}/in", "events": ["task.completed"], **fields}
    Account.objects.under(account).update(is_listened=True)
    account.is_listened = True
    return Webhook.objects.create(account=account, secret=seal(SECRET, purpose="webhook"), **fields)


def inside(*addresses: str) -> Guard:
    """Give a guard to whom loopback is let in over http, and for whom every name is there."""
    return Guard(
        networks=parse_networks(["127.0.0.0/8"]),
        is_http_allowed=True,
        resolve=lambda host, port: list(addresses or ["127.0.0.1"]),
    )


def is_signed(request: Received, secret: str = SECRET) -> bool:
    """Check a signature as a receiver would, by the words of docs/webhooks.md and none of the sender's code."""
    header = request.headers["gaas-signature"]
    stamp = header.split(",")[0].removeprefix("t=")
    wanted = hmac.new(secret.encode(), stamp.encode() + b"." + request.body, hashlib.sha256).hexdigest()
    return any(part == f"v1={wanted}" for part in header.split(",")[1:])
