"""Let a page's form have one effect, however often its button is pressed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.utils.crypto import salted_hmac

from gaas.lib.errors import Conflict
from gaas.lib.retry import retried
from gaas.outbox.models import IdempotencyKey
from gaas.outbox.services import idempotency

# A second press finds the first one at work: its effect is a few rows, so waiting for it beats a refusal.
PATIENCE_SECONDS = 3.0
LOOK_SECONDS = 0.1


class SentBefore(Conflict):
    """State that this form did its work before, and with something else in its fields."""

    code = "sent_before"


def once(
    *, user_id: object, key: str, route: str, asked: Mapping[str, Any], act: Callable[[], str], now: datetime
) -> tuple[str, bool]:
    """Do what a form asks for once for its hidden key; give the path to go on at, and whether this call did it.

    `act` runs in one transaction with the note of its answer, and gives that path. Sent again with the same fields
    the stored path is given; with others SentBefore is raised. What `act` raises frees the key.
    """
    claimed = _claimed(user_id, key, route, asked, now)
    if claimed.is_answered:
        return str(claimed.headers["Location"]), False
    try:
        return _act(claimed, act, now), True
    except Exception:
        idempotency.let_go(claimed)
        raise


def _claimed(user_id: object, key: str, route: str, asked: Mapping[str, Any], now: datetime) -> IdempotencyKey:
    text = json.dumps(dict(asked), sort_keys=True, default=str)
    patient_until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return idempotency.claim(
                scope=f"user:{user_id}",
                key=key,
                method="POST",
                route=route,
                body_hash=salted_hmac("gaas.once", text, algorithm="sha256").hexdigest(),
                now=now,
            )
        except idempotency.IdempotencyKeyReused:
            raise SentBefore("This form was sent before with something else in it: see below what that made.") from None
        except idempotency.IdempotencyInProgress:
            if time.monotonic() > patient_until:
                raise
            time.sleep(LOOK_SECONDS)


@retried
def _act(claimed: IdempotencyKey, act: Callable[[], str], now: datetime) -> str:
    idempotency.begin(claimed)
    path = act()
    idempotency.complete(claimed, status=302, headers={"Location": path}, body="", now=now)
    return path
