from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from gpus.windows import DAYS, closes_at, in_words, minutes, opens_at, turn

BERLIN = ZoneInfo("Europe/Berlin")


def schedule(*windows: tuple[str, str, str], zone: str = "Europe/Berlin") -> dict:
    return {
        "time_zone": zone,
        "windows": [{"days": days.split(), "from": begin, "until": end} for days, begin, end in windows],
        "may_stop": False,
    }


def berlin(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).astimezone(UTC)


NIGHTS = schedule(("MON TUE WED THU FRI", "18:00", "08:00"), ("SAT SUN", "00:00", "24:00"))


class TestClosesAt:
    def test_the_empty_schedule_never_closes(self):
        now = datetime(2026, 6, 1, tzinfo=UTC)

        assert closes_at({}, now) is None
        assert opens_at({}, now) == now

    def test_a_window_over_midnight_belongs_to_the_day_it_began_on(self):
        assert closes_at(NIGHTS, berlin("2026-06-02T03:00")) == berlin("2026-06-02T08:00")

    def test_it_is_closed_between_windows_and_says_when_the_next_opens(self):
        now = berlin("2026-06-02T12:00")

        assert closes_at(NIGHTS, now) == now
        assert opens_at(NIGHTS, now) == berlin("2026-06-02T18:00")
        assert turn(NIGHTS, now) == (True, berlin("2026-06-02T18:00"))

    def test_windows_that_touch_are_one(self):
        # Friday evening, through the weekend, to Monday: Friday's window ends in Saturday's, and Sunday ends at 24:00.
        assert closes_at(NIGHTS, berlin("2026-06-05T19:00")) == berlin("2026-06-08T00:00")

    def test_a_week_without_a_gap_never_closes(self):
        assert closes_at(schedule((" ".join(DAYS), "00:00", "24:00")), berlin("2026-06-02T12:00")) is None

    def test_the_end_is_not_in_the_window(self):
        end = berlin("2026-06-02T08:00")

        assert closes_at(NIGHTS, end) == end
        assert closes_at(NIGHTS, end - timedelta(seconds=1)) == end


class TestClockChange:
    def test_the_night_of_spring_is_an_hour_shorter(self):
        # 2026-03-29: 02:00 becomes 03:00.
        window = schedule(("SAT", "22:00", "06:00"))
        begin = berlin("2026-03-28T22:00")

        assert closes_at(window, begin) - begin == timedelta(hours=7)

    def test_the_night_of_autumn_is_an_hour_longer(self):
        window = schedule(("SAT", "22:00", "06:00"))
        begin = berlin("2026-10-24T22:00")

        assert closes_at(window, begin) - begin == timedelta(hours=9)

    def test_a_time_that_is_jumped_over_is_the_moment_of_the_jump(self):
        jump = datetime(2026, 3, 29, 1, tzinfo=UTC)

        assert opens_at(schedule(("SUN", "02:30", "06:00")), jump - timedelta(hours=1)) == jump
        assert closes_at(schedule(("SUN", "00:00", "02:30")), jump - timedelta(hours=1)) == jump
        # One that lies in the hour that does not exist does not exist.
        assert opens_at(schedule(("SUN", "02:15", "02:45")), jump - timedelta(hours=1)) == berlin("2026-04-05T02:15")

    def test_of_a_time_that_comes_twice_the_narrower_window_counts(self):
        assert closes_at(schedule(("SUN", "00:00", "02:30")), berlin("2026-10-25T01:00")) == berlin("2026-10-25T02:30")
        assert opens_at(schedule(("SUN", "02:30", "06:00")), berlin("2026-10-25T01:00")) == berlin(
            "2026-10-25T02:30", fold=1
        )

    def test_a_zone_that_jumps_at_midnight_leaves_no_hole(self):
        # Beirut, 2026-03-29: 00:00 becomes 01:00.
        every_day = schedule((" ".join(DAYS), "00:00", "24:00"), zone="Asia/Beirut")

        assert closes_at(every_day, datetime(2026, 3, 28, 12, tzinfo=UTC)) is None


@st.composite
def schedules(draw):
    times = st.integers(0, 1439)
    windows = []
    for _ in range(draw(st.integers(1, 4))):
        begin, end = draw(st.tuples(times, times).filter(lambda pair: pair[0] != pair[1]))
        days = draw(st.sets(st.sampled_from(DAYS), min_size=1))
        windows.append((" ".join(sorted(days)), f"{begin // 60:02}:{begin % 60:02}", f"{end // 60:02}:{end % 60:02}"))
    return schedule(*windows, zone=draw(st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Beirut", "UTC"])))


def is_given(schedule: dict, moment: datetime) -> bool:
    """Say by the clock on the wall alone whether the owner gave this moment."""
    wall = moment.astimezone(ZoneInfo(schedule["time_zone"]))
    now = wall.hour * 60 + wall.minute
    today, yesterday = DAYS[wall.weekday()], DAYS[wall.weekday() - 1]
    for window in schedule["windows"]:
        begin, end = minutes(window["from"]), minutes(window["until"])
        if begin < end and today in window["days"] and begin <= now < end:
            return True
        if begin > end and ((today in window["days"] and now >= begin) or (yesterday in window["days"] and now < end)):
            return True
    return False


class TestAnySchedule:
    @given(schedules(), st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)).map(lambda at: at.replace(tzinfo=UTC)))
    def test_it_is_never_open_at_a_time_that_its_owner_did_not_give(self, given_schedule, now):
        closes = closes_at(given_schedule, now)

        if closes is None or closes > now:
            for minute in range(
                0, min(1440, int(((closes or now + timedelta(days=1)) - now).total_seconds()) // 60), 7
            ):
                assert is_given(given_schedule, now + timedelta(minutes=minute))
        else:
            opens = opens_at(given_schedule, now)
            assert opens > now
            assert is_given(given_schedule, opens)


class TestInWords:
    def test_it_names_runs_of_days(self):
        assert in_words(NIGHTS) == ["MON–FRI 18:00–08:00", "SAT–SUN 00:00–24:00"]
        assert in_words(schedule(("MON WED THU FRI", "01:00", "02:00"))) == ["MON, WED–FRI 01:00–02:00"]
        assert in_words(schedule((" ".join(DAYS), "01:00", "02:00"))) == ["every day 01:00–02:00"]
