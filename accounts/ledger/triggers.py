"""Triggers that keep the books even from whoever has the database's prompt.

- A transfer is never changed, removed, or (PostgreSQL) truncated.
- A transfer's two balances have its asset, and a balance never changes what it is.

The migration installs them. A later migration that makes SQLite copy one of the two tables drops them
with the old copy: let it run `install` again at its end.
"""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

TRANSFER = "ledger_transfer"
BALANCE = "ledger_balance"

_POSTGRESQL_FUNCTIONS = {
    "ledger_refuse_change": """
        BEGIN
            RAISE EXCEPTION 'a transfer is never changed or removed; make a new one'
                USING ERRCODE = 'integrity_constraint_violation';
        END""",
    "ledger_refuse_other_asset": """
        BEGIN
            IF (SELECT count(*) FROM ledger_balance WHERE id IN (NEW.debit_id, NEW.credit_id)
                AND asset_id = NEW.asset_id) <> 2 THEN
                RAISE EXCEPTION 'both balances of a transfer have its asset'
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        END""",
    "ledger_refuse_other_identity": """
        BEGIN
            IF (NEW.id, NEW.asset_id, NEW.kind, NEW.owner_key) IS DISTINCT FROM
               (OLD.id, OLD.asset_id, OLD.kind, OLD.owner_key) THEN
                RAISE EXCEPTION 'a balance keeps its asset, kind and owner'
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        END""",
}
_POSTGRESQL = {
    "ledger_transfer_keep": (TRANSFER, "BEFORE UPDATE OR DELETE", "ROW", "ledger_refuse_change"),
    "ledger_transfer_keep_all": (TRANSFER, "BEFORE TRUNCATE", "STATEMENT", "ledger_refuse_change"),
    "ledger_transfer_one_asset": (TRANSFER, "BEFORE INSERT", "ROW", "ledger_refuse_other_asset"),
    "ledger_balance_same": (
        BALANCE,
        "BEFORE UPDATE OF id, asset_id, kind, owner_key",
        "ROW",
        "ledger_refuse_other_identity",
    ),
}
_SQLITE = {
    "ledger_transfer_keep_update": """BEFORE UPDATE ON ledger_transfer
        BEGIN SELECT RAISE(ABORT, 'a transfer is never changed or removed; make a new one'); END""",
    "ledger_transfer_keep_delete": """BEFORE DELETE ON ledger_transfer
        BEGIN SELECT RAISE(ABORT, 'a transfer is never changed or removed; make a new one'); END""",
    # INSERT OR REPLACE removes the row that stands in its way without firing the trigger above.
    "ledger_transfer_keep_replace": """BEFORE INSERT ON ledger_transfer
        WHEN EXISTS (SELECT 1 FROM ledger_transfer WHERE id = NEW.id)
          OR EXISTS (SELECT 1 FROM ledger_transfer WHERE key = NEW.key)
          OR EXISTS (SELECT 1 FROM ledger_transfer WHERE reverses_id = NEW.reverses_id)
        BEGIN SELECT RAISE(ABORT, 'UNIQUE: a transfer with this id, key or reversal stands already'); END""",
    "ledger_transfer_one_asset": """BEFORE INSERT ON ledger_transfer
        WHEN (SELECT count(*) FROM ledger_balance WHERE id IN (NEW.debit_id, NEW.credit_id)
              AND asset_id = NEW.asset_id) <> 2
        BEGIN SELECT RAISE(ABORT, 'both balances of a transfer have its asset'); END""",
    "ledger_balance_same": """BEFORE UPDATE OF id, asset_id, kind, owner_key ON ledger_balance
        WHEN (NEW.id, NEW.asset_id, NEW.kind, NEW.owner_key) IS NOT (OLD.id, OLD.asset_id, OLD.kind, OLD.owner_key)
        BEGIN SELECT RAISE(ABORT, 'a balance keeps its asset, kind and owner'); END""",
}


def install(connection: BaseDatabaseWrapper) -> None:
    """Put every trigger in place, whether or not it is there."""
    remove(connection)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for name, body in _POSTGRESQL_FUNCTIONS.items():
                cursor.execute(f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
            for name, (table, moment, each, function) in _POSTGRESQL.items():
                cursor.execute(
                    f"CREATE TRIGGER {name} {moment} ON {table} FOR EACH {each} EXECUTE FUNCTION {function}()"
                )
        else:
            for name, rest in _SQLITE.items():
                cursor.execute(f"CREATE TRIGGER {name} {rest}")


def remove(connection: BaseDatabaseWrapper) -> None:
    """Take every trigger away; for the migration's way back and for tests that empty the tables."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for name, (table, *_) in _POSTGRESQL.items():
                cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")
            for name in _POSTGRESQL_FUNCTIONS:
                cursor.execute(f"DROP FUNCTION IF EXISTS {name}()")
        else:
            for name in _SQLITE:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")


def missing(connection: BaseDatabaseWrapper) -> list[str]:
    """Name the triggers that do not stand, or stand switched off."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT tgname FROM pg_trigger WHERE tgrelid IN (to_regclass(%s), to_regclass(%s)) "
                "AND NOT tgisinternal AND tgenabled IN ('O', 'A')",
                [TRANSFER, BALANCE],
            )
            wanted = set(_POSTGRESQL)
        else:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            wanted = set(_SQLITE)
        return sorted(wanted - {name for (name,) in cursor.fetchall()})
