"""Run a verb in one transaction, and run it again when the database says that it only met another one."""

from __future__ import annotations

import functools
import random
import sqlite3
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import IntegrityError, OperationalError, connection, transaction

from gaas.lib.errors import DomainError

P = ParamSpec("P")
R = TypeVar("R")

TRIES = 8
# PostgreSQL: serialization_failure, deadlock_detected, lock_not_available.
_SQLSTATES = {"40001", "40P01", "55P03"}
_SQLITE_CODES = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DISK_FULL = "53100"  # PostgreSQL: disk_full


class DatabaseFull(DomainError):
    """State that the database has no room for what was to be written."""

    status = 503
    code = "database_full"

    def __init__(self) -> None:
        super().__init__(
            "There is no room to write it at the moment. Try again; staff look after it.", headers={"Retry-After": "10"}
        )


def is_disk_full(error: BaseException) -> bool:
    """Tell whether the database found no room on its disk."""
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return (getattr(cause, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_FULL
    return getattr(cause, "sqlstate", None) == _DISK_FULL


def is_transient(error: BaseException) -> bool:
    """Tell whether the same statements may succeed when they are simply run again."""
    cause = error.__cause__
    if getattr(cause, "sqlstate", None) in _SQLSTATES:
        return True
    # The low byte is the primary code; the rest says which kind of busy it was.
    return isinstance(cause, sqlite3.Error) and (getattr(cause, "sqlite_errorcode", 0) & 0xFF) in _SQLITE_CODES


def retried(verb: Callable[P, R]) -> Callable[P, R]:
    """Make a verb one transaction, run again from its start on a deadlock, serialization failure or busy.

    - Only the outermost call retries: inside somebody's atomic() that transaction is lost with all that
      it did before, so the error passes up to whoever began it.
    - An IntegrityError is tried once more, nested or not: two callers with one natural key both found
      nothing and both inserted; the second look finds the winner's row. A refusal that persists passes up.
    - The verb must begin by looking for what an earlier run of it left behind.
    """

    @functools.wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        is_outermost = not connection.in_atomic_block
        has_clashed = False
        tried = 0
        while True:
            tried += 1
            try:
                with transaction.atomic():
                    return verb(*args, **kwargs)
            except IntegrityError:
                if has_clashed:
                    raise
                has_clashed = True
            except OperationalError as error:
                if not (is_outermost and is_transient(error)) or tried >= TRIES:
                    raise
                # Jitter, or the two that met would meet again.
                time.sleep(random.uniform(0, 0.01 * 2**tried))  # noqa: S311

    return run
