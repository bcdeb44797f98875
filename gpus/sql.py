"""What the engines say differently: the heartbeats of many hosts in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from gpus.choices import SPEAKING


@dataclass(frozen=True)
class Beat:
    """A sync that changes nothing but when the host was heard, and the row as it was read."""

    host_id: UUID
    session: UUID
    boot_id: str
    seq_before: int
    seq: int
    at: datetime
    lease_expires_at: datetime
    skew: float


_NEW = (
    "seq = {0}.seq, last_sync_at = {0}.at, updated_at = {0}.at, lease_expires_at = {0}.lease,"
    " clock_skew_seconds = {0}.skew"
)
_AS_READ = "h.id = v.id AND h.session = v.session AND h.boot_id = v.boot_id AND h.seq = v.seq_before"


def write_beats(beats: Sequence[Beat]) -> set[tuple[UUID, int]]:
    """Renew the leases of hosts whose rows are still as they were read; gives (host, seq) of those.

    PostgreSQL passes over a row that somebody holds at the moment, so that this waits for nobody and cannot be part
    of a deadlock; whoever sent it writes it alone.
    """
    speaking = ", ".join(f"'{status}'" for status in sorted(SPEAKING))
    is_postgresql = connection.vendor == "postgresql"
    casts = "%s::uuid, %s::uuid, %s, %s, %s, %s::timestamptz, %s::timestamptz, %s::float8"
    row = f"({casts if is_postgresql else ', '.join(['%s'] * 8)})"
    values = (
        f"WITH v(id, session, boot_id, seq_before, seq, at, lease, skew) AS (VALUES {', '.join([row] * len(beats))})"
    )
    if is_postgresql:
        statement = (
            f"{values}, mine AS (SELECT v.* FROM gpus_host h JOIN v ON {_AS_READ} WHERE h.status IN ({speaking})"  # noqa: S608
            f" FOR NO KEY UPDATE OF h SKIP LOCKED) UPDATE gpus_host h SET {_NEW.format('mine')} FROM mine"
            " WHERE h.id = mine.id RETURNING h.id, h.seq"
        )
    else:
        statement = (
            f"{values} UPDATE gpus_host AS h SET {_NEW.format('v')} FROM v"  # noqa: S608
            f" WHERE {_AS_READ} AND h.status IN ({speaking}) RETURNING id, seq"
        )
    parameters: list[Any] = []
    for beat in beats:
        parameters += _adapted(beat, is_postgresql)
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return {(id_ if isinstance(id_, UUID) else UUID(id_), seq) for id_, seq in cursor.fetchall()}


def _adapted(beat: Beat, is_postgresql: bool) -> list[Any]:
    moments = [connection.ops.adapt_datetimefield_value(moment) for moment in (beat.at, beat.lease_expires_at)]
    ids = [beat.host_id, beat.session] if is_postgresql else [beat.host_id.hex, beat.session.hex]
    return [*ids, beat.boot_id, beat.seq_before, beat.seq, *moments, beat.skew]
