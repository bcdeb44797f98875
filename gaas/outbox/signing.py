"""The signature of what a webhook is sent, and when a failed call is tried again: arithmetic without a database."""

from __future__ import annotations

import hashlib
import hmac
import random
import secrets
from collections.abc import Sequence
from datetime import timedelta

MOST_ATTEMPTS = 8
# After the first, second … failed attempt: eight within a day.
_WAITS = tuple(timedelta(seconds=s) for s in (15, 60, 300, 1800, 7200, 21600, 43200))
_JITTER = 0.2
_FIRST_REST = timedelta(seconds=5)
_LONGEST_REST = timedelta(minutes=5)


def new_secret() -> str:
    """Make what signs a webhook's calls: 256 bits."""
    return f"whsec_{secrets.token_urlsafe(32)}"


def signature(body: str, *, secrets: Sequence[str], timestamp: int) -> str:
    """Give the header's value: "t=<Unix seconds>,v1=<hex>", and one v1 for each secret that is good now.

    v1 is HMAC-SHA256 over "<t>.<body>", keyed by the whole text of the secret.
    """
    message = f"{timestamp}.{body}".encode()
    signed = [hmac.new(secret.encode(), message, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={timestamp}", *(f"v1={value}" for value in signed)])


def wait_after(attempt: int) -> timedelta:
    """Give how long to wait after a failed attempt, from 1, give or take a fifth: many that failed together part."""
    wait = _WAITS[min(attempt, len(_WAITS)) - 1]
    return wait * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311


def rest_after(failures: int) -> timedelta:
    """Give how long a webhook is left alone after so many failures in a row, that others get their turn."""
    return min(_FIRST_REST * 2 ** min(failures, 10), _LONGEST_REST)


def rest_after_slow(spent: timedelta) -> timedelta:
    """Give how long one is left alone that answers well but slowly: it takes a fifth of a sender's time at most."""
    return spent * 4 if spent > timedelta(seconds=2) else timedelta()
