"""Files that were fetched before, by the digest of their bytes.

A file lies here under its SHA-256 and is looked at again each time it is used, so that neither a broken disk nor a
program that got hold of it gives another task other bytes. What was not used longest goes first when room is needed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

BLOCK_BYTES = 1 << 20
FICLONE = 0x40049409
_SHA256 = re.compile(r"[0-9a-f]{64}")

# Give the bytes from an offset on.
Source = Callable[[int], Iterator[bytes]]


class WrongBytes(Exception):
    """State that what came, twice, is not what was named."""


class Cache:
    """Hold files up to `limit` bytes. Threads may share it; one fetches a file while the others wait for it."""

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def place(
        self, sha256: str, size: int, target: Path, source: Source, *, may_link: bool, check: Callable[[], None]
    ) -> None:
        """Have a file lie at `target` with exactly these bytes; `check` is called each block and may raise.

        With `may_link` it shares the disk's blocks with the cache: only for a reader that cannot write.
        """
        if not _SHA256.fullmatch(sha256) or size < 0:
            raise WrongBytes(f"{sha256[:80]!r} is no SHA-256")
        with self._guard:
            lock = self._locks[sha256]
        with lock:
            kept = self.folder / sha256
            if not (kept.exists() and kept.stat().st_size == size and _digest(kept, check) == sha256):
                kept.unlink(missing_ok=True)
                self._fetch(sha256, size, source, check)
            os.utime(kept)
            with contextlib.suppress(FileNotFoundError):
                target.unlink()
            if may_link and _link(kept, target):
                return
            _copy(kept, target)
            if size > self.limit:
                kept.unlink()

    def _fetch(self, sha256: str, size: int, source: Source, check: Callable[[], None]) -> None:
        """Go on with what an earlier try brought; begin anew once when the whole is not what was named."""
        self._make_room(size)
        part = self.folder / f".{sha256}.part"
        for _ in range(2):
            with part.open("ab") as out:
                if out.tell() > size:
                    out.truncate(0)
                if out.tell() < size:
                    for block in source(out.tell()):
                        out.write(block[: size - out.tell()])
                        check()
                out.flush()
            if part.stat().st_size == size and _digest(part, check) == sha256:
                part.chmod(0o444)
                os.replace(part, self.folder / sha256)
                return
            part.unlink()
        raise WrongBytes("the bytes that came are not those that were named")

    def _make_room(self, size: int) -> None:
        with self._guard:
            kept = []
            for path in self.folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    found = path.stat()
                    kept.append((found.st_mtime, found.st_size, path))
            total = sum(entry[1] for entry in kept) + size
            for _, bytes_, path in sorted(kept):
                if total <= self.limit:
                    return
                if not path.name.startswith(".") or not self._locks[path.name[1:65]].locked():
                    path.unlink(missing_ok=True)
                    total -= bytes_


def _digest(path: Path, check: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            check()
    return digest.hexdigest()


def _link(kept: Path, target: Path) -> bool:
    try:
        os.link(kept, target)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            return False
        raise
    return True


def _copy(kept: Path, target: Path) -> None:
    """Copy, without the bytes where the file system can share them until one of the two is written."""
    with kept.open("rb") as source, target.open("xb") as out:
        try:
            fcntl.ioctl(out.fileno(), FICLONE, source.fileno())
        except OSError:
            shutil.copyfileobj(source, out, BLOCK_BYTES)
    target.chmod(0o644)
