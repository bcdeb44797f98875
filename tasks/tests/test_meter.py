from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tasks.meter import metered_ms

START = datetime(2026, 1, 1, tzinfo=UTC)
ms = st.integers(0, 10**10)


class TestMetered:
    @given(ms, ms, ms)
    def test_it_is_the_least_of_agent_database_and_hold(self, elapsed, passed, limit):
        until = START + timedelta(milliseconds=passed)
        assert metered_ms(elapsed_ms=elapsed, started_at=START, until=until, limit_ms=limit) == min(
            elapsed, passed, limit
        )

    @given(ms, ms, ms)
    def test_a_clock_that_was_set_back_meters_nothing(self, elapsed, before, limit):
        until = START - timedelta(milliseconds=before)
        assert metered_ms(elapsed_ms=elapsed, started_at=START, until=until, limit_ms=limit) == 0

    def test_what_never_started_is_not_metered(self):
        assert metered_ms(elapsed_ms=10, started_at=None, until=START, limit_ms=10) == 0

    def test_parts_of_a_millisecond_are_not_metered(self):
        until = START + timedelta(microseconds=1_999)
        assert metered_ms(elapsed_ms=10, started_at=START, until=until, limit_ms=10) == 1
