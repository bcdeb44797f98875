"""Logs of ended attempts: packed from rows into one object each, read there by ranges, removed when their time is over.

An object is stored and read back before any row goes; the rows go in the transaction that names it.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO
from uuid import UUID

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import DatabaseError, transaction

from gaas.lib import clock
from gaas.lib.errors import DomainError
from gaas.lib.retry import retried
from tasks.models import Attempt, LogArchive, LogChunk
from tasks.services.files import IN_MEMORY_BYTES, StorageAway, drop, let_go_of_the_database

log = logging.getLogger("app")

MEMBER_BYTES = 64 * 1024
READ_MEMBERS = 16
BATCH = 200
# A tick begins no log after so long: the next one goes on.
TICK_SECONDS = 20.0
# What could not be packed, or whose packer died, is tried again after this.
RETRY = timedelta(minutes=10)
# An object that no log came to need is deleted after this; half of it is the most that a packer may take.
ORPHANED = timedelta(hours=2)


class LogRemoved(DomainError):
    """State that an ended attempt's log is not kept any more."""

    status = 410
    code = "log_removed"


class _Differs(Exception):
    """What lies in the storage is not what was stored."""


@dataclass(frozen=True)
class Packed:
    """What was written into a spool; `members` begins with 0 and ends with the object's size."""

    size: int
    sha256: str
    members: list[int]


class _Outage:
    """Note whether the storage takes logs, so that each outage is told once and not at every log."""

    def __init__(self) -> None:
        self._is_known = False

    def begins(self, why: BaseException) -> None:
        if not self._is_known:
            log.error("logs stay in the database, since the storage does not take them", exc_info=why)
        self._is_known = True

    def ends(self) -> None:
        if self._is_known:
            log.warning("the storage takes logs again")
        self._is_known = False


outage = _Outage()


def archive_logs(*, now: datetime) -> None:
    """Pack logs that are due, the oldest first, then remove what nobody needs; the next tick does what is left.

    Any number may run at once. The first log that the storage does not take ends the tick.
    """
    until = time.monotonic() + TICK_SECONDS
    due = Attempt.objects.filter(log_pack_due_at__lte=now)
    due.filter(log_size=0).update(log_pack_due_at=None)
    for attempt_id in due.order_by("log_pack_due_at").values_list("pk", flat=True)[:BATCH]:
        if time.monotonic() > until:
            return
        try:
            pack_log(attempt_id=attempt_id, now=now)
        except StorageAway:
            return
        except Exception:
            log.exception("the log of attempt %s cannot be packed", attempt_id)
    _remove_old(now=now)
    _sweep_orphans(now=now)


def pack_log(*, attempt_id: UUID, now: datetime) -> bool:
    """Move an ended attempt's log from its rows into one object; say whether this call did it.

    1. Claim it, so that others leave it alone for a while. 2. Pack the rows. 3. Store the object under a key that a
    row knew before. 4. Read it back. 5. In one transaction name it and delete the rows; of two who come so far one
    wins. Raises StorageAway, after which the rows are still there.
    """
    claimed = Attempt.objects.filter(pk=attempt_id, log_pack_due_at__lte=now)
    if not claimed.update(log_pack_due_at=now + RETRY):
        return False
    size, ended_at = Attempt.objects.values_list("log_size", "ended_at").get(pk=attempt_id)
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:
        with _outages_told():
            packed = _pack(_rows(attempt_id), spool)
        if packed.size != size:
            # Nothing is to be won by trying again; it is read from its rows as before.
            log.error("of the log of attempt %s there are %s bytes of %s: it stays rows", attempt_id, packed.size, size)
            Attempt.objects.filter(pk=attempt_id).update(log_pack_due_at=None)
            return False
        archive = _announce(attempt_id, ended_at or now, packed)
        let_go_of_the_database()
        with _outages_told():
            _store(archive, spool)
            _verify(archive)
    outage.ends()
    if _switch(archive):
        return True
    drop([archive])
    return False


@contextmanager
def _outages_told() -> Iterator[None]:
    try:
        yield
    except DatabaseError:
        raise
    except Exception as error:
        outage.begins(error)
        raise StorageAway from error


def _rows(attempt_id: UUID) -> Iterator[bytes]:
    """Give the log in members of MEMBER_BYTES, the last one shorter, with few rows in memory."""
    chunks = LogChunk.objects.filter(attempt_id=attempt_id).order_by("offset").values_list("data", flat=True)
    rest = bytearray()
    for data in chunks.iterator(chunk_size=16):
        rest += data
        while len(rest) >= MEMBER_BYTES:
            yield bytes(rest[:MEMBER_BYTES])
            del rest[:MEMBER_BYTES]
    if rest:
        yield bytes(rest)


def _pack(members: Iterator[bytes], spool: IO[bytes]) -> Packed:
    digest, size, ends = hashlib.sha256(), 0, [0]
    for member in members:
        digest.update(member)
        size += len(member)
        ends.append(ends[-1] + spool.write(gzip.compress(member, 6, mtime=0)))
    return Packed(size, digest.hexdigest(), ends)


def _announce(attempt_id: UUID, ended_at: datetime, packed: Packed) -> LogArchive:
    """Write down the key before there is an object, so that none is ever forgotten."""
    token = secrets.token_hex(24)
    return LogArchive.objects.create(
        attempt_id=attempt_id,
        ended_at=ended_at,
        size=packed.size,
        sha256=packed.sha256,
        key=f"logs/{token[:2]}/{token}",
        member_bytes=MEMBER_BYTES,
        members=packed.members,
    )


def _store(archive: LogArchive, spool: IO[bytes]) -> None:
    spool.seek(0)
    if default_storage.save(archive.key, File(spool)) != archive.key:
        raise _Differs("the storage has an object under a random key already")


def _verify(archive: LogArchive) -> None:
    """Read the object as readers will, and hold the bytes against those that were packed."""
    digest = hashlib.sha256()
    step = READ_MEMBERS * archive.member_bytes
    for offset in range(0, archive.size, step):
        digest.update(_unpack(archive, offset, step))
    if digest.hexdigest() != archive.sha256:
        raise _Differs(f"the object {archive.key} is not what was stored")


@retried
def _switch(archive: LogArchive) -> bool:
    """Make the object the log, and delete the rows; False where another call did so before, or this one was too slow.

    Locks: attempt → archive → rows. An object that the sweep may already be deleting is never named.
    """
    here = Attempt.objects.filter(pk=archive.attempt_id, log_pack_due_at__isnull=False, log_size=archive.size)
    young = LogArchive.objects.filter(pk=archive.pk, is_kept=False, created_at__gt=clock.now() - ORPHANED / 2)
    if not (here.update(log_pack_due_at=None) and young.update(is_kept=True)):
        transaction.set_rollback(True)
        return False
    LogChunk.objects.filter(attempt_id=archive.attempt_id).delete()
    return True


def read_archived(attempt: Attempt, *, offset: int, limit: int) -> bytes:
    """Give up to `limit` bytes from `offset` of a log that is no rows any more; reads the members that they touch.

    Raises LogRemoved, and StorageAway.
    """
    archive = LogArchive.objects.filter(attempt=attempt, is_kept=True).first()
    if archive is None:
        _refuse_where_removed(attempt)
        return b""
    let_go_of_the_database()
    try:
        return _unpack(archive, offset, limit)
    except Exception as error:
        # It may have been removed since the row was read.
        _refuse_where_removed(attempt)
        log.exception("the log of attempt %s cannot be read", attempt.pk)
        raise StorageAway from error


def _refuse_where_removed(attempt: Attempt) -> None:
    removed_at = Attempt.objects.values_list("log_removed_at", flat=True).get(pk=attempt.pk)
    if removed_at is not None:
        raise LogRemoved(f"This log was removed on {removed_at:%Y-%m-%d}: logs are not kept longer here.")


def _unpack(archive: LogArchive, offset: int, limit: int) -> bytes:
    end = min(archive.size, offset + limit)
    if offset >= end:
        return b""
    first, last = offset // archive.member_bytes, (end - 1) // archive.member_bytes
    begin = archive.members[first]
    data = gzip.decompress(_read_range(archive.key, begin, archive.members[last + 1] - begin))
    skip = offset - first * archive.member_bytes
    if len(data) < skip + end - offset:
        raise _Differs(f"the object {archive.key} is shorter than it was")
    return data[skip : skip + end - offset]


def _read_range(key: str, start: int, size: int) -> bytes:
    # A file in a container or a bucket would be fetched as a whole by its first read.
    if hasattr(default_storage, "read_range"):
        part: bytes = default_storage.read_range(key, start, size)
        return part
    with default_storage.open(key) as kept:
        if hasattr(kept, "obj"):
            data: bytes = kept.obj.get(Range=f"bytes={start}-{start + size - 1}")["Body"].read()
            return data
        kept.seek(start)
        return kept.read(size)


def _remove_old(*, now: datetime) -> None:
    """Remove logs whose attempts ended more than LOG_KEEP_DAYS ago; those that are still rows wait to be packed."""
    if not settings.LOG_KEEP_DAYS:
        return
    before = now - timedelta(days=settings.LOG_KEEP_DAYS)
    for archive in LogArchive.objects.filter(is_kept=True, ended_at__lt=before).order_by("ended_at")[:BATCH]:
        _remove(archive, now=now)


@retried
def _remove(archive: LogArchive, *, now: datetime) -> None:
    if LogArchive.objects.filter(pk=archive.pk, is_kept=True).update(is_kept=False):
        Attempt.objects.filter(pk=archive.attempt_id).update(log_removed_at=now)
        transaction.on_commit(lambda: drop([archive]))


def _sweep_orphans(*, now: datetime) -> None:
    """Delete objects whose packer died, or lost against another, before they were named."""
    drop(list(LogArchive.objects.filter(is_kept=False, created_at__lt=now - ORPHANED).order_by("updated_at")[:BATCH]))
