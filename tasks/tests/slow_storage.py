"""A place for files like the usual one, that tells of each read and can make it last, break off, or go wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.db import connection


class SlowStorage(FileSystemStorage):
    """Call `at_read` before each block; note in `reads` whether a transaction was open then."""

    at_read: ClassVar[Callable[[], object]] = lambda: None
    at_delete: ClassVar[Callable[[str], object]] = lambda name: None
    reads: ClassVar[list[bool]] = []

    @classmethod
    def reset(cls) -> None:
        cls.at_read, cls.at_delete, cls.reads = lambda: None, lambda name: None, []  # type: ignore[assignment,misc]

    def open(self, name: str, mode: str = "rb") -> File[Any]:
        return _Watched(super().open(name, mode))

    def delete(self, name: str) -> None:
        type(self).at_delete(name)
        super().delete(name)


class _Watched:
    def __init__(self, file: File[Any]) -> None:
        self._file = file

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        SlowStorage.reads.append(connection.in_atomic_block)
        SlowStorage.at_read()
        return bytes(self._file.read(size))
