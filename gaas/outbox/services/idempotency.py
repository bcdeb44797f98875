"""Let a call that may be sent twice have one effect and one answer.

A key is claimed in a transaction of its own, so that others see at once that it is taken. The effect and the
answer then commit together, under the lock of the key's row: it is the first lock of all (docs/locking.md).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from gaas.lib.errors import Conflict, DomainError
from gaas.lib.ids import uuid7
from gaas.outbox.models import IdempotencyKey

State = IdempotencyKey.State


class IdempotencyKeyReused(DomainError):
    """Refuse a key that stands for another call already."""

    status = 422
    code = "idempotency_key_reused"


class IdempotencyInProgress(Conflict):
    """Refuse while the first call with this key is still at work."""

    code = "idempotency_in_progress"

    def __init__(self) -> None:
        super().__init__(
            "A call with this Idempotency-Key is under way. Send it again in a moment for its answer.",
            headers={"Retry-After": "1"},
        )


def claim(*, scope: str, key: str, method: str, route: str, body_hash: str, now: datetime) -> IdempotencyKey:
    """Take a key for this call, or give the row of the call that has been answered (`is_answered`).

    1. Nobody has it: one INSERT takes it; of parallel ones the unique constraint lets one through.
    2. Another call has it: IdempotencyKeyReused. The same one is under way: IdempotencyInProgress.
    3. Its holder fell silent beyond IDEMPOTENCY_LOCK_SECONDS: one conditional UPDATE takes it over. A holder that
       is slow but alive has the row locked, so the UPDATE waits for it and then finds the answer instead.
    """
    while True:
        stored = IdempotencyKey.objects.filter(scope=scope, key=key).first()
        if stored is None:
            made = IdempotencyKey(
                scope=scope,
                key=key,
                method=method,
                route=route,
                body_hash=body_hash,
                locked_until=_lock_end(now),
                expires_at=now + timedelta(seconds=settings.IDEMPOTENCY_KEEP_SECONDS),
            )
            try:
                with transaction.atomic():
                    made.save(force_insert=True)
            except IntegrityError:
                continue
            return made
        if stored.expires_at <= now:
            IdempotencyKey.objects.filter(pk=stored.pk, holder=stored.holder).expired(now=now).delete()
            continue
        if (stored.method, stored.route, stored.body_hash) != (method, route, body_hash):
            raise IdempotencyKeyReused(
                "This Idempotency-Key stands for another call: another path or another body. Use a new key."
            )
        if stored.is_answered:
            return stored
        if stored.locked_until > now:
            raise IdempotencyInProgress
        holder = uuid7()
        left = IdempotencyKey.objects.filter(pk=stored.pk, state=State.RUNNING, holder=stored.holder)
        if left.update(holder=holder, locked_until=_lock_end(now), updated_at=now):
            stored.holder = holder
            return stored


def begin(claimed: IdempotencyKey) -> None:
    """Lock a claimed key for the rest of the caller's transaction.

    Raises IdempotencyInProgress where somebody took it over, since this call slept beyond its lock.
    """
    own = IdempotencyKey.objects.filter(pk=claimed.pk, state=State.RUNNING, holder=claimed.holder)
    if own.select_for_update(no_key=True).first() is None:
        raise IdempotencyInProgress


def hold(claimed: IdempotencyKey, *, now: datetime) -> None:
    """Say before the transaction that this call is still at work. Raises IdempotencyInProgress as `begin` does."""
    own = IdempotencyKey.objects.filter(pk=claimed.pk, state=State.RUNNING, holder=claimed.holder)
    if not own.update(locked_until=_lock_end(now), updated_at=now):
        raise IdempotencyInProgress


def complete(claimed: IdempotencyKey, *, status: int, headers: dict[str, str], body: str | None, now: datetime) -> None:
    """Store the answer in the transaction of the effect; a body of None is one that is never shown again."""
    fields: dict[str, Any] = {"status": status, "headers": headers, "body": body or "", "is_secret": body is None}
    IdempotencyKey.objects.filter(pk=claimed.pk).update(state=State.ANSWERED, updated_at=now, **fields)


def let_go(claimed: IdempotencyKey) -> None:
    """Free a key whose call came to nothing, so that it can be sent again."""
    IdempotencyKey.objects.filter(pk=claimed.pk, state=State.RUNNING, holder=claimed.holder).delete()


def forget_expired_keys(*, now: datetime) -> int:
    """Remove keys past their week; return how many. What moved money is guarded by its natural key for ever."""
    return IdempotencyKey.objects.expired(now=now).delete()[0]


def _lock_end(now: datetime) -> datetime:
    return now + timedelta(seconds=settings.IDEMPOTENCY_LOCK_SECONDS)
