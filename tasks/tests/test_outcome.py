"""Where a task goes when an attempt of it has ended."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.choices import ENDED, Fault
from tasks.models import Task
from tasks.outcome import Ended, decide, is_charged

SOUND = Ended(
    status="SUCCEEDED",
    fault="none",
    code="",
    detail="",
    had_started=True,
    cancel_requested=False,
    complete_requested=False,
    infra_failures=0,
    user_failures=0,
    retries=0,
    infra_retries=5,
    time_left_ms=1,
)
FAILED = replace(SOUND, status="FAILED", fault="user", code="exit_code", detail="Exit code 1.")

ends = st.builds(
    Ended,
    status=st.sampled_from(sorted(ENDED)),
    fault=st.sampled_from(Fault.values),
    code=st.sampled_from(["", "exit_code"]),
    detail=st.sampled_from(["", "It broke."]),
    had_started=st.booleans(),
    cancel_requested=st.booleans(),
    complete_requested=st.booleans(),
    infra_failures=st.integers(0, 6),
    user_failures=st.integers(0, 6),
    retries=st.integers(0, 5),
    infra_retries=st.integers(0, 5),
    time_left_ms=st.integers(-1, 1),
)


class TestDecide:
    @pytest.mark.parametrize(
        ("end", "status"),
        [
            (SOUND, "COMPLETED"),
            (replace(SOUND, cancel_requested=True), "CANCELLED"),
            (replace(SOUND, complete_requested=True), "COMPLETED"),
            (replace(FAILED, complete_requested=True), "COMPLETED"),
            (replace(FAILED, complete_requested=True, cancel_requested=True), "CANCELLED"),
            (replace(FAILED, status="REFUSED", fault="host", had_started=False), "APPROVED"),
            (replace(FAILED, status="REFUSED", had_started=False), "FAILED"),
            (replace(FAILED, status="REFUSED", had_started=False, retries=1), "APPROVED"),
            (replace(FAILED, status="LOST", fault="host", had_started=False), "APPROVED"),
            (replace(FAILED, status="LOST", fault="host"), "APPROVED"),
            (replace(FAILED, status="LOST", fault="host", infra_failures=5), "FAILED"),
            (replace(FAILED, fault="platform"), "APPROVED"),
            (FAILED, "FAILED"),
            (replace(FAILED, retries=1), "APPROVED"),
            (replace(FAILED, retries=1, user_failures=1), "FAILED"),
            (replace(FAILED, retries=1, time_left_ms=0), "FAILED"),
            (replace(FAILED, status="TIMED_OUT", code="time_limit"), "FAILED"),
        ],
    )
    def test_it_goes_where_the_rules_say(self, end, status):
        assert decide(end).status == status

    @given(ends)
    def test_every_end_leads_along_the_table(self, end):
        chosen = decide(end)
        assert chosen.status in Task.TRANSITIONS["PROCESSING"]
        assert chosen.reason
        if not end.had_started and not end.complete_requested and end.status != "SUCCEEDED":
            assert chosen.status in Task.TRANSITIONS["ASSIGNED"]

    @given(ends)
    def test_counters_never_go_down_and_one_moves_at_most(self, end):
        chosen = decide(end)
        moved = (chosen.infra_failures - end.infra_failures) + (chosen.user_failures - end.user_failures)
        assert moved in (0, 1)
        if not end.had_started and (end.status, end.fault) != ("REFUSED", "user"):
            assert moved == 0

    @given(ends)
    def test_retries_are_not_for_ever(self, end):
        chosen = decide(end)
        if chosen.status == "APPROVED" and end.had_started:
            assert chosen.infra_failures <= end.infra_retries or chosen.user_failures <= end.retries


class TestCharged:
    @given(st.sampled_from(sorted(ENDED)), st.sampled_from(Fault.values))
    def test_what_never_started_is_free(self, status, fault):
        assert not is_charged(status, fault, had_started=False)

    @pytest.mark.parametrize(
        ("status", "fault", "charged"),
        [
            ("SUCCEEDED", "none", True),
            ("FAILED", "user", True),
            ("TIMED_OUT", "user", True),
            ("CANCELLED", "none", True),
            ("CANCELLED", "host", False),
            ("FAILED", "host", False),
            ("FAILED", "platform", False),
            ("LOST", "host", False),
        ],
    )
    def test_faults_of_others_are_free(self, status, fault, charged):
        assert is_charged(status, fault, had_started=True) is charged
