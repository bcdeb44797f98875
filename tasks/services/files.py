"""Bytes that are kept: written in pieces under random keys, read by ranges, removed when their time is over."""

from __future__ import annotations

import hashlib
import logging
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import IO, Any

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.db.models.functions import Now

from accounts.models import Account
from accounts.services import give_back_storage, reserve_storage
from gaas.lib.amounts import show_bytes
from gaas.lib.errors import Conflict, DomainError, NotFound
from gaas.lib.retry import retried
from tasks.choices import FileStatus
from tasks.models import FilePiece, LogArchive, StoredFile

log = logging.getLogger("app")

PIECE_BYTES = 8 * 1024 * 1024
BLOCK_BYTES = 64 * 1024
IN_MEMORY_BYTES = 1024 * 1024
BATCH = 100
# For so long objects are tried to be deleted after one could not be.
DROP_SECONDS = 30.0


class FileGap(DomainError):
    """State that bytes before the offset are missing; `wanted` is the offset to go on from."""

    status = 416
    code = "file_gap"

    def __init__(self, wanted: int) -> None:
        super().__init__(f"Go on from byte {wanted}: that is how much is here.", attr="offset")
        self.wanted = wanted


class FileTooLong(DomainError):
    """State that more bytes came than were promised."""

    code = "file_too_long"


class FileTooLarge(DomainError):
    """State that a file is larger than any may be."""

    code = "file_too_large"


class FileIncomplete(Conflict):
    """State that bytes are missing at the end."""

    code = "file_incomplete"


class FileInUse(Conflict):
    """State that a live task needs the file."""

    code = "file_in_use"


class WrongHash(DomainError):
    """State that the bytes are not those whose digest was named; nothing is kept of them."""

    status = 422
    code = "wrong_hash"


class StorageAway(DomainError):
    """State that the place where files are kept takes or gives nothing now."""

    status = 503
    code = "storage_away"

    def __init__(self) -> None:
        super().__init__(
            "Files cannot be kept or read at the moment. Try again; staff look after it.", headers={"Retry-After": "10"}
        )


def open_file(*, account: Account, size: int, sha256: str, now: datetime) -> StoredFile:
    """Promise room for a file, in the caller's transaction. Raises FileTooLarge and StorageFull."""
    most = settings.MAX_FILE_MIB * 1024 * 1024
    if size > most:
        raise FileTooLarge(f"One file has at most {show_bytes(most)}. Send it in parts.", attr="size")
    reserve_storage(account=account, size=size)
    due_at = now + timedelta(seconds=settings.UPLOAD_OPEN_SECONDS)
    return StoredFile.objects.create(account=account, size=size, sha256=sha256, due_at=due_at)


def append(
    file: StoredFile, *, offset: int, stream: IO[bytes], length: int, guard: Callable[[], object] = lambda: None
) -> str:
    """Add the `length` bytes of a stream at an offset; give their digest where that is the whole file, else "".

    What is here already is skipped, so that bytes sent twice add nothing. No transaction is open while bytes
    flow: each piece is written under a key of its own and then counted by one conditional UPDATE, of which among
    parallel writers one wins; `guard` runs with it and may refuse. Raises FileGap, FileTooLong, StorageAway.
    """
    if file.status == FileStatus.REMOVED:
        raise NotFound("This file is gone.")
    if offset > file.received:
        raise FileGap(file.received)
    if offset + length > file.size:
        raise FileTooLong(f"The file was to have {file.size} bytes; this would be more.", attr="offset")
    is_from_start, digest = file.received == 0, hashlib.sha256()
    let_go_of_the_database()
    _skip(stream, min(length, file.received - offset))
    while file.received < file.size:
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:
            size = _spool(stream, spool, digest, min(PIECE_BYTES, file.size - file.received))
            if not size:
                break
            _keep(file, spool, size, guard)
    return digest.hexdigest() if is_from_start and file.received == file.size else ""


def let_go_of_the_database() -> None:
    """Give the connection back while a slow peer is waited for."""
    if not connection.in_atomic_block:
        connection.close()


def _skip(stream: IO[bytes], size: int) -> None:
    while size > 0 and (block := stream.read(min(BLOCK_BYTES, size))):
        size -= len(block)


def _spool(stream: IO[bytes], spool: Any, digest: Any, most: int) -> int:
    size = 0
    try:
        while size < most and (block := stream.read(min(BLOCK_BYTES, most - size))):
            spool.write(block)
            digest.update(block)
            size += len(block)
    except OSError as error:
        if error.errno is None:  # the sender's connection broke
            raise
        log.exception("no room to take a file in")
        raise StorageAway from error
    spool.seek(0)
    return size


def _keep(file: StoredFile, spool: Any, size: int, guard: Callable[[], object]) -> None:
    token = secrets.token_hex(24)
    piece = FilePiece.objects.create(file=file, offset=file.received, size=size, key=f"files/{token[:2]}/{token}")
    let_go_of_the_database()
    try:
        key = default_storage.save(piece.key, File(spool))
    except Exception as error:
        log.exception("a file cannot be kept")
        drop([piece])  # a try that left a half takes the last room of a full disk
        raise StorageAway from error
    if key != piece.key:
        raise RuntimeError("the storage has an object under a random key already")
    try:
        _count(file, piece, guard)
    except DomainError:
        drop([piece])
        raise


@retried
def _count(file: StoredFile, piece: FilePiece, guard: Callable[[], object]) -> None:
    guard()
    end = piece.offset + piece.size
    mine = StoredFile.objects.filter(pk=file.pk, status=FileStatus.OPEN, received=piece.offset)
    if not mine.update(received=end):
        raise FileGap(StoredFile.objects.values_list("received", flat=True).get(pk=file.pk))
    FilePiece.objects.filter(pk=piece.pk).update(is_kept=True)
    file.received = end


def complete(file: StoredFile, *, sha256: str, digest: str = "", keep_seconds: float, now: datetime) -> None:
    """Make a file whole once all its bytes are here and have the digest that was named, now or at its start.

    `digest` is theirs where the caller counted it. Many may ask at once. Raises FileIncomplete, and WrongHash, which
    has removed the file.
    """
    if file.status == FileStatus.REMOVED:
        raise NotFound("This file is gone.")
    if file.is_whole:
        if sha256 and sha256 != file.sha256:
            raise WrongHash(f"The file is kept and its SHA-256 is {file.sha256}.", attr="sha256")
        return
    if file.received < file.size:
        raise FileIncomplete(f"{file.received} of {file.size} bytes are here: send the rest.", attr="size")
    found = digest or digest_of(file)
    for named in {sha256, file.sha256} - {""}:
        if named != found:
            remove(file, now=now)
            raise WrongHash(
                f"The bytes that came have the SHA-256 {found}, not {named}. They were thrown away: begin anew.",
                attr="sha256",
            )
    if not file.complete(sha256=found, due_at=now + timedelta(seconds=keep_seconds), now=now):
        file.refresh_from_db()


def digest_of(file: StoredFile, *, still: Callable[[], None] = lambda: None) -> str:
    """Count the SHA-256 of what is here, which takes as long as reading it; calls `still` between the blocks.

    Raises StorageAway where it breaks off, as for a file that is deleted meanwhile.
    """
    digest = hashlib.sha256()
    blocks = read(file)
    while block := _next(blocks):
        digest.update(block)
        still()
    return digest.hexdigest()


def _next(blocks: Iterator[bytes]) -> bytes:
    """Give the next block, b"" at the end."""
    try:
        return next(blocks, b"")
    except Exception as error:
        log.exception("a kept file cannot be read")
        raise StorageAway from error


def read(file: StoredFile, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Give the bytes from `start` up to `end`, block by block; which objects hold them is read at once.

    Raises StorageAway before the first block where even the first object cannot be had.
    """
    end = file.size if end is None else end
    pieces = [
        (offset, size, key)
        for offset, size, key in file.pieces.filter(is_kept=True)
        .order_by("offset")
        .values_list("offset", "size", "key")
        if offset + size > start and offset < end
    ]
    let_go_of_the_database()
    blocks = _blocks(pieces, start, end)
    return _chain(_next(blocks), blocks)


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _blocks(pieces: list[tuple[int, int, str]], start: int, end: int) -> Iterator[bytes]:
    for offset, size, key in pieces:
        skip, left = max(0, start - offset), min(size, end - offset)
        left -= skip
        with default_storage.open(key) as kept:
            kept.seek(skip)
            while left > 0:
                block = kept.read(min(BLOCK_BYTES, left))
                if not block:
                    raise OSError(f"the object {key} is shorter than it was")
                left -= len(block)
                yield block


@retried
def remove(file: StoredFile, *, now: datetime) -> bool:
    """Give a file up: its bytes are deleted after the commit, its account has the room again.

    Raises FileInUse while a live task needs it. Locks: file → storage.
    """
    file.refresh_from_db(fields=["status"], from_queryset=StoredFile.objects.select_for_update(no_key=True))
    if StoredFile.objects.filter(pk=file.pk).needed().exists():
        raise FileInUse("A task that has not ended needs this file. Wait for its end, or cancel it.")
    if file.status == FileStatus.REMOVED or not file.remove(now=now):
        return False
    give_back_storage(account_id=file.account_id, size=file.size)
    pieces = list(file.pieces.filter(is_kept=True))
    file.pieces.filter(is_kept=True).update(is_kept=False)
    transaction.on_commit(lambda: drop(pieces))
    return True


def drop(pieces: Sequence[FilePiece | LogArchive]) -> None:
    """Delete objects and then forget them; what cannot be deleted now is left to the sweep, and the rest is tried."""
    until = time.monotonic() + DROP_SECONDS
    for piece in pieces:
        try:
            default_storage.delete(piece.key)
        except Exception:
            log.exception("an object that is no longer needed cannot be deleted")
            type(piece)._default_manager.filter(pk=piece.pk).update(updated_at=Now())  # behind those not tried yet
            if time.monotonic() > until:
                return  # the storage is away, and each try takes its time-out
            continue
        type(piece)._default_manager.filter(pk=piece.pk, is_kept=False).delete()


def sweep_files(*, now: datetime) -> None:
    """Remove what is due and no live task needs, and objects whose writer died before it counted them.

    One file that cannot be removed does not keep the others.
    """
    for file in StoredFile.objects.due(now=now).order_by("due_at")[:BATCH]:
        try:
            remove(file, now=now)
        except FileInUse:
            continue
        except Exception:
            log.exception("file %s is due and cannot be removed", file.pk)
    before = now - timedelta(seconds=settings.UPLOAD_OPEN_SECONDS)
    drop(list(FilePiece.objects.filter(is_kept=False, created_at__lt=before).order_by("updated_at")[:BATCH]))
