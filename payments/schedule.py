"""When the periods of a contract are due: arithmetic of dates, no database, no clock.

Period n is due at midnight of anchor + n × interval in the contract's zone, each computed from the anchor, never from
the one before: the 31st gives 28 February and then 31 March again. A midnight that a clock change leaves out is read
by the offset before it, one that comes twice is the first (RFC 5545, 3.3.5).
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

WEEK, MONTH = "week", "month"
# No day of a schedule is before or after these: arithmetic about them stays far from the ends of `date`.
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2200, 1, 1)


@lru_cache(maxsize=1)
def zones() -> frozenset[str]:
    """Give the names of time zones that a contract may be kept in."""
    return frozenset(available_timezones() - {"localtime", "posixrules", "Factory"})


@dataclass(frozen=True)
class Schedule:
    """Say when each period is due. `first` counts the intervals from the anchor to period 0."""

    anchor: date
    interval: str
    zone: str
    first: int = 0

    def day(self, no: int) -> date:
        """Give the day of period `no`, in the zone."""
        steps = self.first + no
        if self.interval == WEEK:
            return self.anchor + timedelta(weeks=steps)
        year, month = divmod(self.anchor.year * 12 + self.anchor.month - 1 + steps, 12)
        return date(year, month + 1, min(self.anchor.day, monthrange(year, month + 1)[1]))

    def due(self, no: int) -> datetime:
        """Give the moment at which period `no` begins, in UTC."""
        return midnight(self.day(no), self.zone)

    def first_on(self, day: date) -> int:
        """Give the first period, counted from 0, that begins on this day or later."""
        no = max(0, self._near(day) - 1)
        while self.day(no) < day:
            no += 1
        return no

    def first_after(self, moment: datetime) -> int:
        """Give the first period that begins after a moment: the one before it is running then."""
        no = max(0, self._near(moment.astimezone(ZoneInfo(self.zone)).date()) - 2)
        while self.due(no) <= moment:
            no += 1
        return no

    def _near(self, day: date) -> int:
        """Give about which period it is on a day, at most one too high."""
        if self.interval == WEEK:
            return (day - self.anchor).days // 7 - self.first
        return (day.year - self.anchor.year) * 12 + day.month - self.anchor.month - self.first


def midnight(day: date, zone: str) -> datetime:
    """Give the moment, in UTC, at which a day begins in a zone."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def today(now: datetime, zone: str) -> date:
    """Give the day that it is in a zone."""
    return now.astimezone(ZoneInfo(zone)).date()
