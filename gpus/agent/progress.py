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
        latest = None
        *lines, rest = (self._rest + chunk).split(b"\n")
        for number, line in enumerate(lines):
            if number == 0 and self._skipping:
                self._skipping = False
                continue
            if line.startswith(PREFIX):
                latest = parse(line[len(PREFIX) :]) or latest
            elif self._bare:
                latest = parse(line) or latest
        if (self._skipping and not lines) or len(rest) > MAX_LINE_BYTES:
            self._skipping, rest = True, b""
        self._rest = rest
        return latest
