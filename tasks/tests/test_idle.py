"""The idle rule: what GPUs measure decides, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gaas.lib import clock
from gaas.lib.errors import NotAllowed
from gaas.outbox.models import Mail
from gpus.tests.fleet import a_device
from tasks import services
from tasks.models import Attempt
from tasks.services import idle
from tasks.tests.rig import HOUR, Rig, an_approved_task, has_run_for, hours_of, running_on

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account, a_device("GPU-1"))


def told(rig, *utilisations: float | None) -> dict:
    metrics = [
        {"gpu": device.uuid, "utilisation": value} for device, value in zip(rig.devices, utilisations, strict=True)
    ]
    return rig.sync(metrics=metrics)


def idles_for(minutes: int, *, seen: int = 0) -> None:
    """Pretend that its GPUs are idle for so many minutes, and were measured last so many minutes ago."""
    now = clock.now()
    Attempt.objects.update(idle_since=now - timedelta(minutes=minutes), idle_seen_at=now - timedelta(minutes=seen))


def mended(task):
    idle.mend_idleness(now=clock.now())
    task.refresh_from_db()
    return task


class TestJudged:
    def test_it_counts_from_the_first_idle_measurement(self, rig, alice, dana):
        an_approved_task(alice, dana)
        running_on(rig)
        told(rig, 4.9)
        since = Attempt.objects.get().idle_since
        told(rig, 0)
        attempt = Attempt.objects.get()
        assert since is not None
        assert attempt.idle_since == since
        assert attempt.idle_seen_at > since

    def test_work_ends_it(self, rig, alice, dana):
        an_approved_task(alice, dana)
        running_on(rig)
        told(rig, 0)
        told(rig, 5)
        attempt = Attempt.objects.get()
        assert (attempt.idle_since, attempt.idle_warned_at) == (None, None)

    def test_one_gpu_at_work_is_enough(self, olga, alice, dana):
        rig = Rig(olga.personal_account, a_device("GPU-1"), a_device("GPU-2", index=1))
        an_approved_task(alice, dana, gpus=2)
        running_on(rig)
        told(rig, 0, 90)
        assert Attempt.objects.get().idle_since is None

    def test_without_a_word_of_every_gpu_nobody_is_judged(self, olga, alice, dana):
        rig = Rig(olga.personal_account, a_device("GPU-1"), a_device("GPU-2", index=1))
        an_approved_task(alice, dana, gpus=2)
        running_on(rig)
        told(rig, 0, None)
        rig.sync()
        assert Attempt.objects.get().idle_since is None

    def test_after_a_time_without_measurements_it_counts_anew(self, rig, alice, dana):
        an_approved_task(alice, dana)
        running_on(rig)
        idles_for(50, seen=6)
        told(rig, 0)
        assert clock.now() - Attempt.objects.get().idle_since < timedelta(minutes=1)


class TestWarn:
    def test_the_submitter_is_told_once(self, rig, alice, dana):
        task = an_approved_task(alice, dana)
        running_on(rig)
        idles_for(31)

        mended(task)
        mended(task)

        assert task.cancel_requested_at is None
        (mail,) = Mail.objects.filter(key__startswith="idle:")
        assert mail.to == alice.email
        assert "next to nothing (under 5 %) for 3" in mail.body
        assert "it is ended in 30 minutes" in task.events.order_by("-id").first().reason

    def test_who_works_again_is_warned_again(self, rig, alice, dana):
        task = an_approved_task(alice, dana)
        running_on(rig)
        idles_for(31)
        mended(task)
        told(rig, 50)
        idles_for(35)
        mended(task)
        assert Mail.objects.filter(key__startswith="idle:").count() == 2

    def test_nobody_is_ended_unwarned(self, rig, alice, dana):
        task = an_approved_task(alice, dana)
        running_on(rig)
        idles_for(600)
        mended(task)
        mended(task)
        assert task.cancel_requested_at is None
        assert clock.now() - Attempt.objects.get().idle_since < timedelta(minutes=31)

    def test_what_is_not_measured_any_more_is_left_alone(self, rig, alice, dana):
        task = an_approved_task(alice, dana)
        running_on(rig)
        idles_for(31, seen=6)
        mended(task)
        assert not Mail.objects.filter(key__startswith="idle:").exists()


class TestEnd:
    def test_it_is_ended_and_the_rest_of_its_hours_comes_back(self, rig, alice, dana):
        task = an_approved_task(alice, dana)
        offer = running_on(rig)
        has_run_for(offer, 3600)
        idles_for(31)
        mended(task)
        idles_for(61)

        assert mended(task).is_cancelling
        (stop,) = rig.sync()["stop"]
        assert stop["verdict"] == "stop"
        rig.finish(offer, "CANCELLED", exit_code=None, elapsed_ms=3_600_000)

        task.refresh_from_db()
        assert (task.status, task.failure_code, task.failure_fault) == ("CANCELLED", "idle", "user")
        assert "next to nothing" in task.failure_detail
        assert task.gpu_ms == HOUR
        assert hours_of(alice.personal_account) == (9 * HOUR, 0)
        assert Mail.objects.filter(key__startswith="idle-end:").count() == 1

    def test_one_that_may_idle_stays(self, rig, alice, dana):
        task = an_approved_task(alice, dana)
        running_on(rig)
        services.allow_idle(task, by=dana, reason="a person uses it", now=clock.now())
        idles_for(61)
        Attempt.objects.update(idle_warned_at=clock.now())
        assert not mended(task).is_cancelling

    def test_only_staff_let_one_idle(self, rig, alice, dana):
        task = an_approved_task(alice, dana)
        with pytest.raises(NotAllowed):
            services.allow_idle(task, by=alice, reason="mine", now=clock.now())

    def test_the_rule_can_be_off(self, rig, alice, dana, settings):
        settings.IDLE_END_SECONDS = 0
        task = an_approved_task(alice, dana)
        running_on(rig)
        idles_for(61)
        mended(task)
        assert not Mail.objects.filter(key__startswith="idle:").exists()
