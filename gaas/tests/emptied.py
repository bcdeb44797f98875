"""Empty PostgreSQL after a test that committed, and bring back what migrations made, in a twentieth of a flush's time.

Django truncates every table, which makes a new file for each table and index, whether it has a row or not. Here only
tables with rows are emptied, by statements that no trigger sees, and what migrations made is copied back from a schema
of its own. It takes a superuser; `can()` tells whether this is one.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction

SCHEMA = "as_migrated"


class Emptied:
    """One connection's test database: `remember()` while nothing was written yet, `again()` after a test."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.tables: list[str] = []
        self.kept: list[str] = []

    def can(self) -> bool:
        if self.connection.vendor != "postgresql":
            return False
        return bool(self._column("SELECT usesuper FROM pg_user WHERE usename = current_user")[0])

    def remember(self) -> None:
        self.tables = sorted(set(self._column("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")))
        with transaction.atomic(using=self.connection.alias):
            self.kept = self._with_rows()
            copies = [f"CREATE TABLE {SCHEMA}.{self._quoted(t)} AS TABLE public.{self._quoted(t)}" for t in self.kept]
            self._run(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE", f"CREATE SCHEMA {SCHEMA}", *copies)

    def again(self) -> None:
        with transaction.atomic(using=self.connection.alias):
            # No trigger fires: neither those of foreign keys nor those that guard the ledger and the audit trail.
            self._run("SET LOCAL session_replication_role = replica")
            gone = [f"DELETE FROM public.{self._quoted(t)}" for t in self._with_rows()]
            back = [f"INSERT INTO public.{self._quoted(t)} SELECT * FROM {SCHEMA}.{self._quoted(t)}" for t in self.kept]
            self._run(*gone, *back)

    def _with_rows(self) -> list[str]:
        looks = [f"SELECT %s WHERE EXISTS (SELECT FROM public.{self._quoted(t)})" for t in self.tables]
        return self._column(" UNION ALL ".join(looks), self.tables)

    def _column(self, sql: str, parameters: list[str] | None = None) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return [row[0] for row in cursor.fetchall()]

    def _run(self, *statements: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute("; ".join(statements))

    def _quoted(self, table: str) -> str:
        return str(self.connection.ops.quote_name(table))
