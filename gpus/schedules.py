"""When a GPU may be used, as its owner writes it."""

from __future__ import annotations

import re
from typing import Any
from zoneinfo import ZoneInfo

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from gpus.windows import DAYS, MINUTES_A_DAY, minutes

MOST_WINDOWS = 50
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,63}", re.ASCII)
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00", re.ASCII)
_FIELDS = {"time_zone", "windows", "may_stop"}
_FIELDS_OF_WINDOW = {"days", "from", "until"}


@extend_schema_field(
    {
        "type": "object",
        "properties": {
            "time_zone": {"type": "string", "example": "Europe/Berlin"},
            "windows": {
                "type": "array",
                "maxItems": MOST_WINDOWS,
                "items": {
                    "type": "object",
                    "properties": {
                        "days": {"type": "array", "items": {"type": "string", "enum": list(DAYS)}},
                        "from": {"type": "string", "example": "18:00"},
                        "until": {"type": "string", "example": "08:00"},
                    },
                    "required": ["days", "from", "until"],
                },
            },
            "may_stop": {"type": "boolean", "default": False},
        },
        "description": "Weekly windows in which it may be used; {} is always. `may_stop`: tasks that say they may be "
        "interrupted can begin in a window that is too short for them, and are stopped at its end.",
    }
)
class ScheduleField(serializers.Field):
    """Take {} (always) or a time zone with at least one window."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise ValidationError("Give an object; {} is always open.")
        if not data:
            return {}
        _refuse_unknown(data, _FIELDS)
        zone, windows, may_stop = data.get("time_zone"), data.get("windows"), data.get("may_stop", False)
        if not isinstance(zone, str) or not _is_zone(zone):
            raise _wrong("time_zone", 'Give a time zone such as "Europe/Berlin" or "UTC".')
        if not isinstance(may_stop, bool):
            raise _wrong("may_stop", "Give true or false.")
        if not isinstance(windows, list) or not 1 <= len(windows) <= MOST_WINDOWS:
            raise _wrong("windows", f"Give 1 to {MOST_WINDOWS} windows; the empty schedule {{}} is always open.")
        return {"time_zone": zone, "windows": [_window(window) for window in windows], "may_stop": may_stop}

    def to_representation(self, value: dict[str, Any]) -> dict[str, Any]:
        return value


def _window(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise _wrong("windows", "Each window is an object of days, from and until.")
    _refuse_unknown(data, _FIELDS_OF_WINDOW)
    days, begin, end = data.get("days"), data.get("from"), data.get("until")
    if not isinstance(days, list) or not days or not all(isinstance(day, str) and day in DAYS for day in days):
        raise _wrong("days", f"Name one or more days of {', '.join(DAYS)}.")
    for name, text in (("from", begin), ("until", end)):
        if not isinstance(text, str) or not _TIME.fullmatch(text):
            raise _wrong(name, 'Give a time of day such as "18:00", up to "24:00".')
    if begin == end or minutes(str(begin)) == MINUTES_A_DAY:
        raise _wrong("until", 'A window ends at another time than it begins; a whole day is "00:00" to "24:00".')
    return {"days": [day for day in DAYS if day in days], "from": begin, "until": end}


def _refuse_unknown(data: dict[Any, Any], known: set[str]) -> None:
    for name in data:
        if name not in known:
            raise _wrong(str(name)[:64] or "?", "There is no such field.", "unknown_field")


def _wrong(name: str, sentence: str, code: str = "invalid") -> ValidationError:
    return ValidationError({name: [ErrorDetail(sentence, code)]})


def _is_zone(name: str) -> bool:
    if not _ZONE.fullmatch(name):
        return False
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


_LINE = re.compile(
    r"(every day|[A-Z]{3}(?:[-–][A-Z]{3})?(?:\s*,\s*[A-Z]{3}(?:[-–][A-Z]{3})?)*)\s+(\S{5})\s*[-–]\s*(\S{5})",
    re.IGNORECASE,
)


def read_line(text: str) -> dict[str, Any]:
    """Read a window as people write it: "MON-FRI 18:00-08:00", "every day 00:00-06:00". Raises ValueError."""
    found = _LINE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text.strip()[:60]!r} is no window: write one as MON-FRI 18:00-08:00.")
    named, begin, end = found.groups()
    return {"days": list(DAYS) if named.lower() == "every day" else _days(named.upper()), "from": begin, "until": end}


def _days(named: str) -> list[str]:
    days: set[str] = set()
    for part in re.split(r"\s*,\s*", named):
        first, _, last = part.replace("–", "-").partition("-")
        for name in filter(None, (first, last)):
            if name not in DAYS:
                raise ValueError(f"{name} is no day: use {', '.join(DAYS)}.")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        # FRI-MON goes over the end of the week.
        days |= {DAYS[number % 7] for number in range(begin, (end if end >= begin else end + 7) + 1)}
    return [day for day in DAYS if day in days]
