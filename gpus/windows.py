"""When an owner lets a GPU be used: weekly windows in a time zone, as arithmetic on moments.

A schedule is {"time_zone": "Europe/Berlin", "windows": [{"days": ["MON"], "from": "18:00", "until": "08:00"}],
"may_stop": false}; the empty one is always open. A window that ends at or before its start ends on the next day.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
MINUTES_A_DAY = 24 * 60
# A window that is open for a week on end never closes.
WEEK = timedelta(days=7)

Interval = tuple[datetime, datetime]


def minutes(text: str) -> int:
    """Read a time of day, "00:00" to "24:00", as minutes after midnight."""
    hours, _, rest = text.partition(":")
    return int(hours) * 60 + int(rest)


def closes_at(schedule: Mapping[str, Any], now: datetime) -> datetime | None:
    """Tell when the window that is open at `now` closes: `now` itself while none is, None where none ever closes."""
    if not schedule:
        return None
    for begin, end in _merged(schedule, now):
        if begin <= now < end:
            return None if end - now >= WEEK else end
    return now


def opens_at(schedule: Mapping[str, Any], now: datetime) -> datetime | None:
    """Tell when the next window opens: `now` itself while one is open."""
    if not schedule:
        return now
    for begin, end in _merged(schedule, now):
        if now < end:
            return max(begin, now)
    return None


def ends_at(
    schedule: Mapping[str, Any],
    is_closed: bool,
    turns_at: datetime | None,
    away_from: datetime | None,
    away_until: datetime | None,
    *,
    now: datetime,
) -> datetime | None:
    """Tell until when work that begins now may go on: `now` while none may, None without an end.

    That is the end of the owner's window or the beginning of the host's announced maintenance. What was worked out
    before (`is_closed`, `turns_at`) is good until it turns.
    """
    closes: datetime | None
    if turns_at is not None and turns_at > now:
        closes = now if is_closed else turns_at
    else:
        closes = closes_at(schedule, now)
    if away_from is None or away_until is None or away_until <= now:
        return closes
    return max(now, away_from if closes is None else min(closes, away_from))


def turn(schedule: Mapping[str, Any], now: datetime) -> tuple[bool, datetime | None]:
    """Tell whether it is closed at `now`, and when that changes next."""
    closes = closes_at(schedule, now)
    if closes is None or closes > now:
        return False, closes
    return True, opens_at(schedule, now)


def in_words(schedule: Mapping[str, Any]) -> list[str]:
    """Write each window for people: "MON–FRI 18:00–08:00"."""
    return [
        f"{_days_in_words(window['days'])} {window['from']}–{window['until']}" for window in schedule.get("windows", ())
    ]


def _days_in_words(days: list[str]) -> str:
    numbers = sorted(DAYS.index(day) for day in days)
    if len(numbers) == len(DAYS):
        return "every day"
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(DAYS[run[0]] if len(run) == 1 else f"{DAYS[run[0]]}–{DAYS[run[-1]]}" for run in runs)


def _merged(schedule: Mapping[str, Any], now: datetime) -> list[Interval]:
    """List what is open from the day before `now` to nine days after it; windows that touch are one."""
    merged: list[Interval] = []
    for begin, end in sorted(_intervals(schedule, now)):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged


def _intervals(schedule: Mapping[str, Any], now: datetime) -> Iterator[Interval]:
    zone = ZoneInfo(schedule["time_zone"])
    today = now.astimezone(zone).date()
    for shift in range(-2, 10):
        day = today + timedelta(days=shift)
        for window in schedule["windows"]:
            if DAYS[day.weekday()] not in window["days"]:
                continue
            first, last = minutes(window["from"]), minutes(window["until"])
            begin = max(_moments(day, first, zone))
            end = min(_moments(day, last if last > first else last + MINUTES_A_DAY, zone))
            if begin < end:
                yield begin, end


def _moments(day: date, minute: int, zone: ZoneInfo) -> list[datetime]:
    """Give the moments at which the clock on the wall shows a time: two where it is set back.

    A time that the clock jumps over is the moment of the jump. Windows begin at the later and end at the earlier
    one of two, so that a GPU is never used at a time of day that its owner did not give.
    """
    wall = datetime.combine(day + timedelta(days=minute // MINUTES_A_DAY), time(), zone)
    wall = wall.replace(hour=minute % MINUTES_A_DAY // 60, minute=minute % 60)
    first, second = (wall.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    if second >= first:
        return [first, second]
    # Jumped over: by the clock before the jump it is after it, and the other way round.
    while first - second > timedelta(seconds=1):
        middle = second + (first - second) / 2
        if middle.astimezone(zone).utcoffset() == second.astimezone(zone).utcoffset():
            second = middle
        else:
            first = middle
    return [first.replace(microsecond=0)]
