"""When periods are due: from the anchor, in the contract's zone, through short months, leap years and clock changes."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.schedule import Schedule, midnight, zones

# Zones that skip or repeat midnights, or a whole day, beside quiet ones.
ZONES = ["UTC", "Europe/Berlin", "Africa/Cairo", "America/Havana", "America/Sao_Paulo", "Pacific/Apia"]

schedules = st.builds(
    Schedule,
    anchor=st.dates(date(2000, 1, 1), date(2060, 12, 31)),
    interval=st.sampled_from(["week", "month"]),
    zone=st.sampled_from(ZONES),
    first=st.integers(0, 200),
)
numbers = st.integers(0, 400)


class TestDays:
    def test_case_57_the_31st_is_clamped_and_comes_back(self):
        days = [Schedule(date(2027, 1, 31), "month", "UTC").day(no) for no in range(5)]
        assert [str(day) for day in days] == ["2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31"]

    def test_case_57_leap_years(self):
        on_leap_day = Schedule(date(2024, 2, 29), "month", "UTC")
        assert [str(on_leap_day.day(no)) for no in (0, 12, 24, 36, 48)] == [
            "2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29",
        ]  # fmt: skip
        assert str(Schedule(date(2024, 1, 30), "month", "UTC").day(1)) == "2024-02-29"
        assert str(Schedule(date(2024, 1, 29), "month", "UTC").day(13)) == "2025-02-28"

    @given(schedules, numbers)
    def test_a_month_keeps_the_anchors_day_or_its_own_last(self, schedule, no):
        day = schedule.day(no)
        if schedule.interval == "week":
            assert day.weekday() == schedule.anchor.weekday()
        else:
            assert day.day == min(schedule.anchor.day, monthrange(day.year, day.month)[1])

    @given(schedules, numbers)
    def test_one_number_has_one_day_whatever_came_before(self, schedule, no):
        later = Schedule(schedule.anchor, schedule.interval, schedule.zone, schedule.first + no)
        assert later.day(0) == schedule.day(no)


class TestMoments:
    @given(schedules, numbers)
    def test_they_follow_each_other(self, schedule, no):
        moments = [schedule.due(n) for n in range(no, no + 5)]
        assert all(after - before > timedelta(days=5) for before, after in pairwise(moments))

    @given(schedules, numbers)
    def test_each_is_at_the_beginning_of_its_day(self, schedule, no):
        zone, due = ZoneInfo(schedule.zone), schedule.due(no)
        assert due.tzinfo is UTC
        before, there = (due - timedelta(microseconds=1)).astimezone(zone), due.astimezone(zone)
        # Of a day that a zone left out altogether the next one begins.
        assert before.date() < schedule.day(no) <= there.date()

    def test_case_57_a_midnight_that_does_not_exist(self):
        # Egypt went from 23:59:59 on 27 April 2023 to 01:00 on the 28th.
        due = midnight(date(2023, 4, 28), "Africa/Cairo")
        assert due == datetime(2023, 4, 27, 22, tzinfo=UTC)
        assert due.astimezone(ZoneInfo("Africa/Cairo")).hour == 1

    def test_case_57_a_midnight_that_comes_twice(self):
        # Cuba went from 00:59:59 on 5 November 2023 back to midnight.
        assert midnight(date(2023, 11, 5), "America/Havana") == datetime(2023, 11, 5, 4, tzinfo=UTC)

    def test_case_57_a_day_that_does_not_exist(self):
        # Samoa had no 30 December 2011.
        weekly = Schedule(date(2011, 12, 23), "week", "Pacific/Apia")
        assert weekly.due(1).astimezone(ZoneInfo("Pacific/Apia")) == datetime(
            2011, 12, 31, tzinfo=ZoneInfo("Pacific/Apia")
        )

    def test_case_57_the_hour_of_utc_moves_with_summer_time(self):
        monthly = Schedule(date(2027, 3, 1), "month", "Europe/Berlin")
        assert [monthly.due(no).hour for no in (0, 1, 7, 8)] == [23, 22, 22, 23]


class TestWhere:
    @given(schedules, st.integers(0, 300), st.integers(-40, 40))
    def test_the_first_after_a_moment(self, schedule, no, days):
        moment = schedule.due(no) + timedelta(days=days)
        found = schedule.first_after(moment)
        assert schedule.due(found) > moment
        assert found == 0 or schedule.due(found - 1) <= moment

    @given(schedules, numbers)
    def test_what_is_due_at_the_very_moment_has_begun(self, schedule, no):
        assert schedule.first_after(schedule.due(no)) == no + 1
        assert schedule.first_after(schedule.due(no) - timedelta(microseconds=1)) == no

    @given(schedules, st.dates(date(2000, 1, 1), date(2100, 1, 1)))
    def test_the_first_on_a_day(self, schedule, day):
        found = schedule.first_on(day)
        assert schedule.day(found) >= day
        assert found == 0 or schedule.day(found - 1) < day


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../etc/passwd", "localtime", "Factory"])
def test_what_is_no_zone(name):
    assert name not in zones()
