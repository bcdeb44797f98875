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
