"""Whether an attempt's log arrived as it was written."""

from __future__ import annotations

import hashlib
from datetime import datetime
from uuid import UUID

from gaas.lib.retry import retried
from gpus.models import Host
from tasks.choices import OPEN
from tasks.models import Attempt, LogChunk

MAX_REFETCHES = 2


@retried
def must_be_sent_again(*, attempt_id: UUID, host: Host, epoch: int, size: int, sha256: str, now: datetime) -> bool:
    """Compare a whole log with the SHA-256 that its agent names; drop it, twice at the most, where it is another.

    After that it stays as it is and is marked: an end must not wait for ever for a log. Nothing is compared
    before the log is whole. Locks the attempt.
    """
    mine = Attempt.objects.filter(pk=attempt_id, host=host, epoch=epoch, status__in=OPEN)
    found = mine.select_for_update(no_key=True).values_list("log_size", "log_refetches").first()
    if found is None or found[0] != size:
        return False
    if _sha256(attempt_id) == sha256:
        return False
    if found[1] >= MAX_REFETCHES:
        mine.update(is_log_suspect=True, updated_at=now)
        return False
    LogChunk.objects.filter(attempt_id=attempt_id).delete()
    mine.update(log_size=0, log_refetches=found[1] + 1, updated_at=now)
    return True


def _sha256(attempt_id: UUID) -> str:
    digest = hashlib.sha256()
    chunks = LogChunk.objects.filter(attempt_id=attempt_id).order_by("offset").values_list("data", flat=True)
    for data in chunks.iterator(chunk_size=16):
        digest.update(bytes(data))
    return digest.hexdigest()
