"""How much an attempt's folders hold, measured beside the program; and whether the host's disk is full."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

PAUSE_SECONDS = 1.0
STEP_SECONDS = 0.01
FULL_BELOW_BYTES = 16 << 20
PATH_BYTES = 2048  # longer ones are opened in parts

Parts = tuple[str, ...]


def _open(root: int, parts: Parts) -> int:
    """Open a folder below `root`, however deep it lies. Raises OSError."""
    fd, at = os.dup(root), 0
    try:
        while at < len(parts):
            size, end = 0, at
            while end < len(parts) and (end == at or size + len(parts[end]) * 4 < PATH_BYTES):
                size += len(parts[end]) * 4 + 1
                end += 1
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            below = os.open("/".join(parts[at:end]), flags, dir_fd=fd)
            os.close(fd)
            fd, at = below, end
        return fd
    except OSError:
        os.close(fd)
        raise


def walk(folder: Path) -> Iterator[int]:
    """Yield, name by name, the bytes on disk of all below a folder; what vanishes meanwhile is left out.

    Links are not followed, other mounts neither, sparse files count what they take,
    a file with several names once. (What may be sent is bounded by the size that a reader finds: taking.py.)
    Raises OSError where the folder itself cannot be opened.
    """
    seen: set[int] = set()
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        device = os.fstat(root).st_dev
        left: list[Parts] = [()]
        while left:
            parts = left.pop()
            with contextlib.suppress(OSError):
                fd = _readable(root, parts)
                try:
                    with os.scandir(fd) as entries:
                        for entry in entries:
                            size = 0
                            with contextlib.suppress(OSError):
                                facts = entry.stat(follow_symlinks=False)
                                is_folder = entry.is_dir(follow_symlinks=False)
                                if facts.st_dev == device and facts.st_ino not in seen:
                                    size = facts.st_blocks * 512
                                    if is_folder:
                                        left.append((*parts, entry.name))
                                    elif facts.st_nlink > 1:
                                        seen.add(facts.st_ino)
                            yield size
                finally:
                    os.close(fd)
    finally:
        os.close(root)


def _readable(root: int, parts: Parts) -> int:
    """Open a folder, also one that the program closed to its own user, which is this one."""
    try:
        return _open(root, parts)
    except PermissionError:
        above = _open(root, parts[:-1])
        try:
            os.chmod(parts[-1], 0o700, dir_fd=above)
        finally:
            os.close(above)
        return _open(root, parts)


def is_full(folder: Path) -> bool:
    """Say whether nothing can be written where the folder is."""
    try:
        facts = os.statvfs(folder)
    except OSError:
        return False
    return facts.f_bavail * facts.f_frsize < FULL_BELOW_BYTES or (facts.f_files > 0 and facts.f_favail < 64)


class DiskWatch:
    """Walk through the folders a little at each `step`, again and again; read `excess` and `was_full`.

    No thread and no process of its own: a program that has taken all that there are must not end the watch.
    """

    def __init__(self, folder: Path, *, max_mib: int, max_files: int):
        self._folder, self._max_mib, self._max_files = folder, max_mib, max_files
        self._walk: Iterator[int] | None = None
        self._size = self._count = 0
        self._not_before = 0.0
        self.excess: str | None = None
        self.was_full = is_full(folder)

    def found_full(self) -> bool:
        """Say whether the disk was seen to be full, or is: a program may fill it and go before the next look."""
        self.was_full = self.was_full or is_full(self._folder)
        return self.was_full

    def step(self) -> None:
        """Go on for some milliseconds; after a whole walk rest for a second."""
        now = time.monotonic()
        if self._walk is None:
            if now < self._not_before:
                return
            self.was_full = self.was_full or is_full(self._folder)
            self._walk, self._size, self._count = walk(self._folder), 0, 0
        try:
            for size in self._walk:
                self._size += size
                self._count += 1
                if self._count % 64 == 0 and time.monotonic() - now > STEP_SECONDS:
                    break
            else:
                self._rest()
        except OSError:
            self._rest()
        self._judge()

    def _rest(self) -> None:
        self._walk, self._not_before = None, time.monotonic() + PAUSE_SECONDS

    def _judge(self) -> None:
        size = self._size >> 20
        if self._max_mib and size > self._max_mib:
            self.excess = f"The program's folders hold {size} MiB or more; they may hold {self._max_mib} MiB here."
        elif self._count > self._max_files:
            self.excess = f"The program's folders hold {self._count} files or more; the limit is {self._max_files}."
