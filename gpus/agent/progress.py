"""`GAAS_PROGRESS {...}` lines: found in a stream of bytes, and let through only when the server can take them."""

from __future__ import annotations

import json
import math
from typing import Any

PREFIX = b"GAAS_PROGRESS "
MAX_LINE_BYTES = 8 * 1024
MAX_BYTES = 4 * 1024
MAX_DEPTH = 4
MAX_NUMBER = 2**53


def _is_plain(value: Any, depth: int = 0) -> bool:
    if depth > MAX_DEPTH:
        return False
    if isinstance(value, bool) or value is None:
        return True
    if isinstance(value, int | float):
        return math.isfinite(value) and abs(value) <= MAX_NUMBER
    if isinstance(value, str):
        return value.isprintable()
    if isinstance(value, list):
        return all(_is_plain(item, depth + 1) for item in value)
    return all(key.isprintable() and _is_plain(item, depth + 1) for key, item in value.items())


def parse(line: bytes) -> dict[str, Any] | None:
    """Read what follows the prefix; None unless it is a JSON object of plain, bounded values."""
    if len(line) > MAX_BYTES:
        return None
    try:
        value = json.loads(line)
        return value if isinstance(value, dict) and _is_plain(value) else None
    except (ValueError, RecursionError, OverflowError):
        return None


class Reader:
    """Pick progress lines out of chunks as they come; lines too long are passed over.

    On the descriptor that exists for progress (`bare=True`) the prefix may be left out.
    """

    def __init__(self, *, bare: bool = False):
        self._bare = bare
        self._rest = b""
        self._skipping = False

    def feed(self, chunk: bytes) -> dict[str, Any] | None:
        """Take a chunk and answer the last valid progress in it, if any."""
        data = self._rest + chunk
        begin, end = 0, data.rfind(b"\n")
        if self._skipping and end != -1:
            self._skipping, begin = False, data.index(b"\n") + 1
        rest = data[end + 1 :]
        if self._skipping or len(rest) > MAX_LINE_BYTES:
            self._skipping, rest = True, b""
        self._rest = rest
        return self._last(data, begin, end)

    def _last(self, data: bytes, begin: int, end: int) -> dict[str, Any] | None:
        """Look from the last line to the first: a program may write a hundred thousand between two looks."""
        # Where nothing else counts, from one prefix to the next: a flood of short lines takes no step for each.
        before = b"\n" if self._bare else b"\n" + PREFIX
        while begin < end:
            at = max(data.rfind(before, begin, end) + 1, begin)
            stop = data.find(b"\n", at, end + 1)
            line = data[at:stop]
            if line.startswith(PREFIX):
                line = line[len(PREFIX) :]
            elif not self._bare:
                return None
            if (found := parse(line)) is not None:
                return found
            end = at - 1
        return None
