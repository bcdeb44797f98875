import threading
import time
from datetime import timedelta

import pytest
from django.db import connection

from accounts.ledger import check
from accounts.ledger.actors import check_books, keep_books
from accounts.ledger.models import Balance, CheckRun
from accounts.ledger.services import check_runs
from gaas.lib.clock import now
from gaas.outbox.models import Mail
from gaas.tests.cast import make_user

pytestmark = pytest.mark.django_db


def begin(**about):
    return check_runs.begin_check(source="command", now=now(), **about)


def checked():
    run = begin()
    check_runs.run_check(run_id=run.pk, now=now())
    run.refresh_from_db()
    return run


class TestRun:
    def test_a_clean_one_is_kept_with_its_times(self, hours):
        run = checked()
        assert (run.status, run.broken, run.done) == ("CLEAN", [], len(check.titles()))
        assert [result["number"] for result in run.results] == sorted(check._registered)
        assert run.seconds >= 0

    def test_a_broken_one_is_kept_with_its_sentences(self, hours):
        Balance.objects.filter(pk=hours.pk).update(held=7)
        run = checked()
        assert run.status == "BROKEN"
        assert [(result["number"], len(result["problems"])) for result in run.broken] == [(2, 1)]

    def test_it_is_done_once(self, hours):
        run = begin()
        assert check_runs.run_check(run_id=run.pk, now=now())
        assert check_runs.run_check(run_id=run.pk, now=now()) == []

    def test_one_at_a_time(self):
        begin()
        with pytest.raises(check_runs.CheckUnderWay):
            begin()

    @pytest.mark.parametrize(("is_taken", "minutes"), [(True, 2), (False, 11)])
    def test_one_that_is_not_heard_of_makes_way(self, is_taken, minutes):
        lost = begin()
        long_ago = now() - timedelta(minutes=minutes)
        CheckRun.objects.update(updated_at=long_ago, started_at=long_ago if is_taken else None)
        begin()
        lost.refresh_from_db()
        assert (lost.status, bool(lost.failure)) == ("FAILED", True)

    def test_a_check_that_breaks_off_says_why(self, monkeypatch):
        def breaks_off():
            raise RuntimeError("The disk is gone.")

        monkeypatch.setitem(check._registered, 99, ("never", breaks_off))
        run = begin()
        with pytest.raises(RuntimeError):
            check_runs.run_check(run_id=run.pk, now=now())
        run.refresh_from_db()
        assert (run.status, run.failure) == ("FAILED", "RuntimeError: The disk is gone.")

    def test_the_night_and_the_button_keep_their_runs(self, hours):
        keep_books()
        check_books(run_id=str(begin().pk))
        assert list(CheckRun.objects.values_list("source", "status")) == [("command", "CLEAN"), ("beat", "CLEAN")]


@pytest.mark.django_db(transaction=True)
def test_progress_is_written_while_it_runs(hours, monkeypatch):
    """From outside the one moment that the check reads."""
    monkeypatch.setattr(check_runs, "TOLD_EVERY", 0.01)
    seen = []

    def look():
        """Ask as the page does: by a connection of its own."""
        try:
            row = CheckRun.objects.values_list("done", "doing").get()
            if row[1] == "slow":
                seen.append(row)
        finally:
            connection.close()

    def slow():
        deadline = time.monotonic() + 20
        while not seen and time.monotonic() < deadline:
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
        return []

    monkeypatch.setitem(check._registered, 99, ("slow", slow))
    run = checked()
    assert seen == [(run.of - 1, "slow")]
    assert (run.status, run.done, run.doing) == ("CLEAN", run.of, "")


class TestLetters:
    @pytest.fixture
    def staff(self):
        make_user("Bob")
        make_user("Clerk", is_staff=True)
        return make_user("Dana", is_staff=True, is_superuser=True)

    def test_staff_who_may_see_it_are_told_once(self, staff, hours):
        checked()
        assert not Mail.objects.exists()
        Balance.objects.filter(pk=hours.pk).update(held=7)
        checked()
        checked()
        letter = Mail.objects.get()
        assert letter.to == staff.email
        assert "has 7 held" in letter.body

    def test_what_breaks_anew_is_told_anew(self, staff, hours):
        Balance.objects.filter(pk=hours.pk).update(held=7)
        checked()
        Balance.objects.filter(pk=hours.pk).update(posted=99)
        checked()
        assert Mail.objects.count() == 2
        assert "Invariant 2" not in Mail.objects.first().body
