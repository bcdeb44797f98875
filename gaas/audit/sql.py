"""What is not the same on both engines."""

from __future__ import annotations

from django.db import connection

# Any number that nobody else locks: the first bytes of "gaas.audit".
CHAINING = 0x676161732E617564


def chain_alone() -> None:
    """Wait until no other transaction chains events, and keep others out until this one ends.

    On SQLite the transaction has the only write lock from its first statement on.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CHAINING])
