"""The log on disk: both streams as they came, up to a limit that is told."""

from __future__ import annotations

import os
from pathlib import Path

NOTICE_ROOM = 64


class LogFile:
    """Append to a log and cut it, with a notice, before it grows past `limit` bytes."""

    def __init__(self, path: Path, limit: int):
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._keep = max(0, limit - NOTICE_ROOM)
        self._size = os.fstat(self._fd).st_size
        self._is_cut = False

    def write(self, chunk: bytes) -> None:
        """Append what fits; the rest is swallowed. Raises OSError (a full disk)."""
        if self._is_cut:
            return
        room = self._keep - self._size
        self._append(chunk[:room])
        if len(chunk) > room:
            self._is_cut = True
            self._append(f"\n[gaas: log cut at {self._size} bytes]\n".encode())

    def _append(self, chunk: bytes) -> None:
        while chunk:
            written = os.write(self._fd, chunk)
            self._size += written
            chunk = chunk[written:]

    def close(self) -> None:
        os.fsync(self._fd)
        os.close(self._fd)
