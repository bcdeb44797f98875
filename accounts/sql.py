"""What is not the same on both engines."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import connection

from accounts.models import Account


def keep_in_place(ids: Sequence[UUID]) -> list[Account]:
    """Read accounts as they are now and keep them from being moved, capped or closed until the transaction ends.

    Many may do so at once (FOR KEY SHARE); who moves, caps or closes takes FOR UPDATE and waits for them all.
    On SQLite the transaction has the only write lock from its first statement on.
    """
    if connection.vendor != "postgresql":
        return list(Account.objects.filter(pk__in=ids).order_by("pk"))
    table = connection.ops.quote_name(Account._meta.db_table)
    return list(
        Account.objects.raw(
            f"SELECT * FROM {table} WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE",  # noqa: S608 our own table's name
            [list(ids)],
        )
    )
