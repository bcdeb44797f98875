"""A ZIP that is made while it is read: its size is not known before, and nothing of it is stored."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime


class _Sink:
    """Take what is written until it is fetched; nothing can be looked up in it again."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        return None

    def close(self) -> None:
        return None

    def fetch(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        return data


def stream(files: Iterable[tuple[str, datetime, int, Callable[[], Iterator[bytes]]]]) -> Iterator[bytes]:
    """Give the bytes of an archive of (name, moment, size, blocks), stored as they are."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, moment, size, blocks in files:
            entry = zipfile.ZipInfo(name, date_time=(max(1980, moment.year), *moment.timetuple()[1:6]))
            entry.external_attr = 0o644 << 16
            entry.file_size = size
            with archive.open(entry, "w", force_zip64=size >= 2**31) as out:
                for block in blocks():
                    out.write(block)
                    yield sink.fetch()
    yield sink.fetch()
