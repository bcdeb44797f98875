"""UUIDv7 (RFC 9562, section 5.7): ids that sort by the moment they were made."""

from __future__ import annotations

import os
import threading
import time
import uuid
from datetime import datetime

_lock = threading.Lock()
_last = 0


def uuid7() -> uuid.UUID:
    """Make an id that sorts after every id this process made before.

    48 bits of Unix milliseconds and 12 bits of sub-millisecond fraction; within one step, or when the
    wall clock was set back, the stamp is the last one plus one step. 62 random bits end it.
    """
    global _last
    with _lock:
        nanos = time.time_ns()
        stamp = ((nanos // 1_000_000) << 12) | ((nanos % 1_000_000) * 4096 // 1_000_000)
        _last = max(stamp, _last + 1)
        stamp = _last
    value = (stamp >> 12) << 80
    value |= 0x7 << 76
    value |= (stamp & 0xFFF) << 64
    value |= 0b10 << 62
    value |= int.from_bytes(os.urandom(8), "big") >> 2
    return uuid.UUID(int=value)


def first_of(moment: datetime) -> uuid.UUID:
    """Give the id below which no id of a moment lies: a bound for ranges of rows made by a clock that is right."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62)
