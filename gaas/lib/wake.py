"""Wake whoever waits in another thread or process. A wake is a hint: a lost one costs one sync period.

PostgreSQL: NOTIFY inside the transaction, heard on a direct LISTEN connection of each `live` process.
SQLite: an in-process bus, called after the commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connection, transaction

CHANNEL = "gaas_wake"

_listeners: list[Callable[[str], None]] = []
_lock = threading.Lock()


def announce(topic: str) -> None:
    """Tell `topic` (at most 200 characters, e.g. `host:<id>:<revision>`) to all listeners once this commits."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, topic])
    else:
        transaction.on_commit(lambda: publish(topic))


def hint(topic: str) -> None:
    """Tell `topic` by a statement of its own after the commit: for what comes often and is looked for again anyway.

    PostgreSQL lets one transaction with a NOTIFY commit at a time, and holds the others until that one is on disk;
    a NOTIFY alone writes nothing to disk.
    """
    transaction.on_commit(lambda: announce(topic), robust=True)


def publish(topic: str) -> None:
    """Call every listener of this process."""
    with _lock:
        listeners = list(_listeners)
    for listener in listeners:
        listener(topic)


def subscribe(listener: Callable[[str], None]) -> Callable[[], None]:
    """Have `listener(topic)` called from any thread; it must not block. Returns the way to end it."""
    with _lock:
        _listeners.append(listener)

    def unsubscribe() -> None:
        with _lock:
            _listeners.remove(listener)

    return unsubscribe
