"""What a contract does next, by arithmetic alone: whoever asks whenever, each number is processed once and in order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from payments.contract_steps import Facts, Pause, next_step
from payments.schedule import Schedule

MONTHLY = Schedule(date(2027, 1, 31), "month", "Europe/Berlin")
START = MONTHLY.due(0)


def played(facts: Facts, looks: list[datetime]) -> tuple[list[tuple[str, int]], Facts]:
    """Take all steps that are due at each look, as a scheduler does."""
    done = []
    for now in looks:
        for _ in range(200):
            step = next_step(facts, now)
            if step.what == "wait":
                assert step.until is None or step.until > now
                break
            done.append((step.what, facts.next_no))
            if step.what in ("open", "skip"):
                until = facts.schedule.due(facts.next_no + 1) if step.what == "open" else facts.open_until
                facts = replace(facts, next_no=facts.next_no + 1, open_until=until)
            elif step.what == "close":
                facts = replace(facts, open_until=None)
            elif step.what == "end":
                facts = replace(facts, status="ENDED")
            else:
                facts = replace(facts, end_no=(facts.end_no or 0) + 3)
        else:
            raise AssertionError("It never comes to rest.")
    return done, facts


looks = st.lists(st.integers(0, 800), min_size=1, max_size=30).map(
    lambda days: [START + timedelta(days=n, hours=n % 7) for n in days]
)


class TestTime:
    @given(looks)
    def test_whenever_it_is_looked_at_each_number_comes_once(self, looks):
        done, facts = played(Facts("ACTIVE", 0, MONTHLY), looks)
        numbers = [no for what, no in done if what == "open"]
        assert numbers == list(range(MONTHLY.first_after(max(looks))))
        assert facts.next_no == len(numbers)

    @given(looks, st.integers(1, 20))
    def test_none_beyond_the_end(self, looks, end_no):
        done, facts = played(Facts("ACTIVE", 0, MONTHLY, end_no=end_no), [*looks, START + timedelta(days=900)])
        assert [no for what, no in done if what == "open"] == list(range(end_no))
        assert facts.status == "ENDED"

    @given(looks, st.integers(1, 20))
    def test_a_cancel_ends_what_would_be_renewed(self, looks, stop_no):
        facts = Facts("ACTIVE", 0, MONTHLY, end_no=3, renews=True, stop_no=stop_no)
        done, facts = played(facts, [*looks, START + timedelta(days=900)])
        assert [no for what, no in done if what == "open"] == list(range(stop_no))
        assert facts.status == "ENDED"

    @given(looks, st.integers(0, 500), st.integers(1, 300))
    def test_a_pause_covers_what_is_due_in_it(self, looks, day, length):
        begin = START + timedelta(days=day)
        pause = Pause(begin, begin + timedelta(days=length), "skip")
        done, _ = played(Facts("ACTIVE", 0, MONTHLY, pauses=(pause,)), looks)
        for what, no in done:
            if what in ("open", "skip"):
                assert (what == "skip") == (begin < MONTHLY.due(no) < begin + timedelta(days=length))
        assert sum(what in ("open", "skip") for what, _ in done) == MONTHLY.first_after(max(looks))

    @given(looks)
    def test_nothing_is_opened_while_it_rests(self, looks):
        pause = Pause(START - timedelta(microseconds=1), None, "charge")
        for status in ("PAUSED", "SUSPENDED"):
            assert played(Facts(status, 0, MONTHLY, pauses=(pause,)), looks)[0] == []

    def test_what_rests_ends_when_a_side_is_gone_and_is_settled_first(self):
        now = MONTHLY.due(3)
        paused = Pause(MONTHLY.due(0), None, "skip")
        for status, pauses in (("PAUSED", (paused,)), ("SUSPENDED", ())):
            facts = Facts(status=status, next_no=1, schedule=MONTHLY, pauses=pauses, open_until=MONTHLY.due(1))
            assert next_step(facts, now).what == "close"
            facts = replace(facts, open_until=None)
            assert next_step(facts, now).what != "end"
            assert next_step(replace(facts, is_pointless=True), now).what == "end"
        # What runs is ended by the period that it cannot pay.
        assert next_step(Facts("ACTIVE", 1, MONTHLY, is_pointless=True), MONTHLY.due(0)).what == "wait"

    def test_what_is_over_waits_for_nobody(self):
        for status in ("DRAFT", "PROPOSED", "DECLINED", "ENDED"):
            assert next_step(Facts(status, 0, MONTHLY), datetime(2030, 1, 1, tzinfo=UTC)).until is None
