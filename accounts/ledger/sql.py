"""What is not the same on both engines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

from accounts.ledger.models import Hold, Transfer
from gaas.lib.retry import is_transient

# A transaction shows up in pg_stat_activity a moment after the clock reading that it starts with.
MARGIN = timedelta(seconds=5)


def settled_before() -> datetime:
    """Give a moment before which no transfer will be created any more, and all that were can be seen.

    A transfer's created_at is its statement's start, no earlier than its transaction's. So on PostgreSQL
    nothing older than the oldest running transaction can still come up; a session of another role hides
    its start, so let all writers log in with one role. On SQLite call it with the write lock held: then
    nobody else is between its clock and its commit.
    """
    if connection.vendor != "postgresql":
        # Stored to the millisecond and compared as text: stay clear of the present one.
        return timezone.now() - timedelta(milliseconds=2)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT LEAST(clock_timestamp() - make_interval(secs => %s), MIN(xact_start)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            [MARGIN.total_seconds()],
        )
        return cursor.fetchone()[0]


@contextmanager
def consistent_read() -> Iterator[None]:
    """Let all reads in the block see one moment, without keeping any writer waiting.

    Inside somebody's transaction it leaves things as they are there.
    """
    if connection.in_atomic_block:
        yield
    elif connection.vendor == "postgresql":
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield
    else:
        # atomic() would begin IMMEDIATE and take the write lock.
        with connection.cursor() as cursor:
            cursor.execute("BEGIN DEFERRED")
            try:
                yield
            finally:
                cursor.execute("ROLLBACK")


def hold_at_once(made: Hold) -> bool:
    """Reserve an amount and store its hold by one statement (PostgreSQL, procedures.py); False: nothing was done."""
    if connection.vendor != "postgresql":
        return False
    made.created_at = made.updated_at = timezone.now()
    values: list[Any] = [made.pk, made.balance_id, made.amount, made.key, made.purpose, made.ref, made.spender]
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT ledger_hold(%s, %s, %s, %s, %s, %s, %s, %s, %s)", [*values, made.expires_at, made.created_at]
            )
            stored = bool(cursor.fetchone()[0])
    except OperationalError as error:
        if connection.in_atomic_block or not is_transient(error):
            raise
        return False
    # As bulk_create leaves it.
    made._state.adding, made._state.db = not stored, connection.alias
    return stored


def capture_at_once(*, hold_id: UUID, legs: Sequence[Transfer], final: bool, actor: str) -> bool:
    """Pay the legs out of a hold by one statement (PostgreSQL, procedures.py); False where nothing was done.

    The legs need their key, kind, credit, amount, ref and memo; the rest of their fields is filled in.
    """
    if connection.vendor != "postgresql":
        return False
    # One text instead of an array for each column: it takes the driver a tenth of the time.
    told = json.dumps([_told(leg) for leg in legs])
    try:
        # Somebody's transaction must outlive an error of this statement; alone it is its own.
        with transaction.atomic() if connection.in_atomic_block else nullcontext(), connection.cursor() as cursor:
            cursor.execute("SELECT * FROM ledger_capture(%s, %s::jsonb, %s, %s)", [hold_id, told, final, actor])
            payer, asset, hold_key, at = cursor.fetchone()
    except IntegrityError:
        return False
    except OperationalError as error:
        if not is_transient(error):
            raise
        return False
    if payer is None:
        return False
    for leg in legs:
        leg.debit_id, leg.asset_id, leg.hold_id, leg.group, leg.actor = payer, asset, hold_id, hold_key, actor
        leg.effective_at = leg.created_at = at
        leg._state.adding, leg._state.db = False, connection.alias
    return True


def _told(leg: Transfer) -> dict[str, object]:
    said = {"id": str(leg.pk), "key": leg.key, "kind": leg.kind, "credit": str(leg.credit_id)}
    return said | {"amount": leg.amount, "ref": leg.ref, "memo": leg.memo}
