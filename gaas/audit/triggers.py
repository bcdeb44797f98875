"""Triggers that keep the audit trail even from whoever has the database's prompt.

An event is never changed, removed, or (PostgreSQL) truncated. The one change that passes gives an event that
has none its place in the chain. The migration installs them. A later migration that makes SQLite copy the
table drops them with the old copy: let it run `install` again at its end.
"""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

TABLE = "audit_auditevent"

# What is written with the event; `seq` and `digest` come afterwards, once.
WRITTEN = (
    "id",
    "created_at",
    "updated_at",
    "actor_id",
    "actor_label",
    "action",
    "object_type",
    "object_id",
    "object_label",
    "account_id",
    "before",
    "after",
    "reason",
    "address",
    "request_id",
    "at",
)

_POSTGRESQL_FUNCTIONS = {
    "audit_refuse_change": """
        BEGIN
            RAISE EXCEPTION 'an audit event is never changed or removed'
                USING ERRCODE = 'integrity_constraint_violation';
        END""",
    "audit_refuse_all_but_chaining": """
        BEGIN
            IF OLD.seq IS NOT NULL OR OLD.digest <> '' OR NEW.seq IS NULL OR length(NEW.digest) <> 64
               OR to_jsonb(NEW) - 'seq' - 'digest' IS DISTINCT FROM to_jsonb(OLD) - 'seq' - 'digest' THEN
                RAISE EXCEPTION 'an audit event is never changed or removed'
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        END""",
    "audit_refuse_a_place": """
        BEGIN
            IF NEW.seq IS NOT NULL OR NEW.digest <> '' THEN
                RAISE EXCEPTION 'an audit event gets its place in the chain afterwards'
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        END""",
}
_POSTGRESQL = {
    "audit_event_place": ("BEFORE INSERT", "ROW", "audit_refuse_a_place"),
    "audit_event_keep": ("BEFORE DELETE", "ROW", "audit_refuse_change"),
    "audit_event_keep_all": ("BEFORE TRUNCATE", "STATEMENT", "audit_refuse_change"),
    "audit_event_chain": ("BEFORE UPDATE", "ROW", "audit_refuse_all_but_chaining"),
}
_SAME = " AND ".join(f'NEW."{column}" IS OLD."{column}"' for column in WRITTEN)
_SQLITE = {
    "audit_event_place": f"""BEFORE INSERT ON {TABLE} WHEN NEW.seq IS NOT NULL OR NEW.digest <> ''
        BEGIN SELECT RAISE(ABORT, 'an audit event gets its place in the chain afterwards'); END""",
    "audit_event_keep": f"""BEFORE DELETE ON {TABLE}
        BEGIN SELECT RAISE(ABORT, 'an audit event is never changed or removed'); END""",
    # INSERT OR REPLACE removes the row that stands in its way without firing the trigger above.
    "audit_event_keep_replace": """BEFORE INSERT ON audit_auditevent
        WHEN EXISTS (SELECT 1 FROM audit_auditevent WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, 'UNIQUE: an audit event is never changed or removed'); END""",
    "audit_event_chain": f"""BEFORE UPDATE ON {TABLE}
        WHEN NOT (OLD.seq IS NULL AND OLD.digest = '' AND NEW.seq IS NOT NULL AND length(NEW.digest) = 64 AND {_SAME})
        BEGIN SELECT RAISE(ABORT, 'an audit event is never changed or removed'); END""",
    # UPDATE OR REPLACE would remove the event that has the number already.
    "audit_event_chain_replace": """BEFORE UPDATE OF seq ON audit_auditevent
        WHEN EXISTS (SELECT 1 FROM audit_auditevent WHERE seq = NEW.seq)
        BEGIN SELECT RAISE(ABORT, 'UNIQUE: another audit event has this place in the chain'); END""",
}


def install(connection: BaseDatabaseWrapper) -> None:
    """Put every trigger in place, whether or not it is there."""
    remove(connection)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for name, body in _POSTGRESQL_FUNCTIONS.items():
                cursor.execute(f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
            for name, (moment, each, function) in _POSTGRESQL.items():
                cursor.execute(
                    f"CREATE TRIGGER {name} {moment} ON {TABLE} FOR EACH {each} EXECUTE FUNCTION {function}()"
                )
        else:
            for name, rest in _SQLITE.items():
                cursor.execute(f"CREATE TRIGGER {name} {rest}")


def remove(connection: BaseDatabaseWrapper) -> None:
    """Take every trigger away; for the migration's way back and for tests that empty the table."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for name in _POSTGRESQL:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {TABLE}")
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
                "SELECT tgname FROM pg_trigger WHERE tgrelid = to_regclass(%s) "
                "AND NOT tgisinternal AND tgenabled IN ('O', 'A')",
                [TABLE],
            )
            wanted = set(_POSTGRESQL)
        else:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            wanted = set(_SQLITE)
        return sorted(wanted - {name for (name,) in cursor.fetchall()})
