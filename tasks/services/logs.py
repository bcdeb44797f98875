"""An attempt's log: bytes at offsets, each once, in order, without holes."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db.models import F, Q
from django.db.models.functions import Length

from gaas.lib.errors import DomainError
from gaas.lib.retry import retried
from gaas.lib.wake import hint
from gpus.models import Host
from tasks.choices import OPEN
from tasks.models import Attempt, LogChunk
from tasks.services.attempts import LeaseLost
from tasks.services.log_archive import read_archived

READ_BYTES = 256 * 1024


class LogGap(DomainError):
    """State that bytes before `offset` are missing; `wanted` is the offset to go on from."""

    status = 416
    code = "log_gap"

    def __init__(self, wanted: int) -> None:
        super().__init__(f"Bytes are missing before that offset: go on from {wanted}.", attr="offset")
        self.wanted = wanted


class LogFull(DomainError):
    """State that the log has reached its cap."""

    status = 413
    code = "log_full"


@retried
def append_log(*, attempt_id: UUID, host: Host, epoch: int, offset: int, data: bytes, now: datetime) -> int:
    """Append bytes of an open attempt's log and return its size.

    What is here already is trimmed off, so that a repeated batch adds nothing. Raises LogGap for a hole,
    LogFull past MAX_LOG_BYTES, LeaseLost for an attempt that is not this host's, of this epoch and open.
    """
    mine = Attempt.objects.filter(pk=attempt_id, host=host, epoch=epoch, status__in=OPEN)
    found = mine.select_for_update(no_key=True).values_list("log_size", "task_id").first()
    if found is None:
        raise LeaseLost("This attempt is not, or no longer, given to this host: end its program.", attr="epoch")
    size, task_id = found
    if offset > size:
        raise LogGap(size)
    fresh = data[size - offset :]
    if not fresh:
        return size
    if size + len(fresh) > settings.MAX_LOG_BYTES:
        raise LogFull(f"A log ends at {settings.MAX_LOG_BYTES} bytes.", attr="offset")
    mine.update(log_size=size + len(fresh), updated_at=now)
    LogChunk.objects.create(attempt_id=attempt_id, offset=size, data=fresh)
    hint(f"task:{task_id}")
    return size + len(fresh)


def read_log(attempt: Attempt, *, offset: int = 0, limit: int = READ_BYTES) -> bytes:
    """Give up to about `limit` bytes from `offset`; empty at the end. `offset + len()` is where to go on.

    Rows first: what is in none of them any more was committed to an archive together with their end, so there is no
    moment without an answer. Raises LogRemoved, and StorageAway where an archive cannot be read now.
    """
    chunks = (
        LogChunk.objects.annotate(end=F("offset") + Length("data"))
        .filter(Q(attempt=attempt) & Q(end__gt=offset))
        .order_by("offset")
        .values_list("offset", "data")
    )
    parts, size = [], 0
    for start, data in chunks.iterator(chunk_size=16):
        piece = bytes(data)[max(0, offset - start) :]
        parts.append(piece)
        size += len(piece)
        if size >= limit:
            break
    if not parts and offset < attempt.log_size:
        return read_archived(attempt, offset=offset, limit=limit)
    return b"".join(parts)[:limit]
