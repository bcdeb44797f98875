"""When a cap's periods begin and end: the calendar of UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

ALWAYS = (datetime(2000, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))


def period_of(period: str, now: datetime) -> tuple[datetime, datetime]:
    """Give the first moment of the day, week, month or `total` that `now` is in, and of the one after it."""
    if period == "total":
        return ALWAYS
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return day, day + timedelta(days=1)
    if period == "week":
        monday = day - timedelta(days=day.weekday())
        return monday, monday + timedelta(days=7)
    if period == "month":
        first = day.replace(day=1)
        return first, (first + timedelta(days=32)).replace(day=1)
    raise ValueError(f"{period!r} is no period")
