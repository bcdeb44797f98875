"""Periodic jobs: of many beats one fires each slot."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import connection
from django.db.models import F

from gaas import beat
from gaas.models import Tick


def a_job(sent: list[int], seconds: float = 3600) -> beat.Job:
    return beat.Job("test.job", seconds, lambda: sent.append(1))


@pytest.mark.django_db
class TestFire:
    def test_it_fires_once_a_slot(self):
        sent: list[int] = []
        assert beat.claim(a_job(sent)) is True
        assert beat.claim(a_job(sent)) is False

    def test_it_fires_again_in_the_next_slot(self):
        job = a_job([])
        beat.claim(job)
        Tick.objects.filter(job=job.name).update(slot=1)
        assert beat.claim(job) is True

    def test_it_waits_when_the_clock_goes_back_a_little(self):
        job = a_job([])
        beat.claim(job)
        Tick.objects.update(slot=F("slot") + 1)
        assert beat.claim(job) is False

    def test_it_goes_on_after_a_clock_that_was_far_ahead(self):
        job = a_job([])
        Tick.objects.create(job=job.name, slot=10**12)
        assert [beat.claim(job), beat.claim(job)] == [True, False]


class TestBeat:
    def test_it_fires_on_and_what_is_late_once(self):
        fired: list[str] = []
        running = threading.Event()

        def slow() -> None:
            fired.append("slow")
            time.sleep(0.2)

        every = [beat.Job("quick", 0.02, lambda: fired.append("quick")), beat.Job("slow", 0.05, slow)]
        periodic = beat.Beat(every, fire=lambda job: job.send())
        periodic.start()
        while fired.count("slow") < 2:
            running.wait(0.01)
        periodic.stop()
        between = fired[fired.index("slow") :]
        assert 1 <= between[: between.index("slow", 1)].count("quick") <= 5


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="threads share the memory database of SQLite tests")
def test_eight_beats_fire_one_message():
    sent: list[int] = []
    job = a_job(sent)
    start = threading.Barrier(8)

    def run() -> None:
        start.wait()
        beat.fire(job)
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sent == [1]


@pytest.mark.django_db
def test_a_job_that_fails_is_logged_and_fires_again(caplog):
    def broken() -> None:
        raise ConnectionError("no broker")

    job = beat.Job("test.broken", 3600, broken)
    beat.fire(job)
    assert "periodic job failed" in caplog.text


def test_every_job_has_a_name_of_its_own():
    names = [job.name for job in beat.jobs()]
    assert len(names) == len(set(names))
    assert "tasks.sweep" in names
