"""What is not the same on both engines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.utils import timezone

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
