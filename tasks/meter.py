"""How much of an attempt's time counts."""

from __future__ import annotations

from datetime import datetime, timedelta

_MS = timedelta(milliseconds=1)


def metered_ms(*, elapsed_ms: int, started_at: datetime | None, until: datetime, limit_ms: int) -> int:
    """Give the least of the agent's own clock, the database's clock and what is left of the hold.

    `until` is the last acknowledged sync, or the finish. An attempt that never started has none.
    """
    if started_at is None:
        return 0
    return max(0, min(elapsed_ms, (until - started_at) // _MS, limit_ms))


def is_overclaim(*, elapsed_ms: int, started_at: datetime | None, until: datetime) -> bool:
    """Tell whether an agent claims over 5 %, and over two seconds, more than the server's clock has counted.

    Only this direction tells of a wrong clock or of a lie: what comes after the end (logs, files) makes the server's
    time the longer one.
    """
    served = 0 if started_at is None else max(0, (until - started_at) // _MS)
    return elapsed_ms * 20 > served * 21 and elapsed_ms - served > 2_000
