"""What the engines say differently: the lock that lets one pass of the matcher run at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

# Any constant will do, so long as nothing else in this database locks on it.
_ADVISORY_KEY = 0x67616173  # "gaas"
_this_process = threading.Lock()


@contextmanager
def one_pass_at_a_time() -> Iterator[bool]:
    """Yield whether this caller may run a pass; the loser does nothing, since the winner looks again.

    PostgreSQL: an advisory lock of one transaction that spans the pass. SQLite: a lock of this process and
    no transaction, so that planning holds no write lock. Uniqueness of open attempts guards what is left.
    """
    if connection.vendor == "postgresql":
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_ADVISORY_KEY])
                got = cursor.fetchone()[0]
            yield got
        return
    got = _this_process.acquire(blocking=False)
    try:
        yield got
    finally:
        if got:
            _this_process.release()
