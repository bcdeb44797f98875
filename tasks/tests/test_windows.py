"""Hours that owners set, and maintenance: what is placed, what waits and says why, and what is stopped at the end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gaas.lib import clock
from gpus.models import GPU, Host
from gpus.tests.fleet import a_device
from tasks import services
from tasks.models import Attempt
from tasks.tests.rig import HOUR, Rig, an_approved_task, has_run_for, hours_of, offered_to, running_on

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


def open_until(hours: float, *, may_stop: bool = False) -> dict:
    """Give a schedule with one window that began an hour ago and ends so many hours from now."""
    begin = clock.now() - timedelta(hours=1)
    end = clock.now() + timedelta(hours=hours)
    window = {"days": [begin.strftime("%a").upper()], "from": f"{begin:%H:%M}", "until": f"{end:%H:%M}"}
    return {"time_zone": "UTC", "windows": [window], "may_stop": may_stop}


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account)


def set_schedule(schedule: dict) -> None:
    GPU.objects.select_related("host").get().offer(by=None, schedule=schedule, now=clock.now())


def waits_for(task) -> str | None:
    services.schedule()
    task.refresh_from_db()
    return task.waiting and task.waiting["code"]


class TestPlacement:
    def test_what_fits_before_the_window_closes_is_placed(self, rig, alice, dana):
        set_schedule(open_until(3))
        an_approved_task(alice, dana, limit_ms=2 * HOUR)
        offered_to(rig)
        assert Attempt.objects.get().stop_at is None

    def test_what_does_not_fit_waits_and_says_why(self, rig, alice, dana):
        set_schedule(open_until(3, may_stop=True))
        assert waits_for(an_approved_task(alice, dana, limit_ms=4 * HOUR)) == "closes_too_soon"

    def test_what_may_be_interrupted_begins_where_the_owner_lets_it(self, rig, alice, dana):
        set_schedule(open_until(3))
        task = an_approved_task(alice, dana, limit_ms=4 * HOUR, interruptible=True)
        assert waits_for(task) == "closes_too_soon"

        set_schedule(open_until(3, may_stop=True))
        offered_to(rig)
        early = GPU.objects.get().turns_at - Attempt.objects.get().stop_at
        assert timedelta(0) <= early <= timedelta(milliseconds=1)

    def test_outside_its_hours_a_gpu_gets_nothing(self, rig, alice, dana):
        set_schedule(open_until(-0.5))
        assert waits_for(an_approved_task(alice, dana)) == "outside_hours"

    def test_nothing_runs_into_an_announced_maintenance(self, rig, alice, dana, olga):
        now = clock.now()
        rig.host.maintenance(by=olga, begins_at=now + timedelta(hours=3), ends_at=now + timedelta(hours=4), now=now)
        long = an_approved_task(alice, dana, limit_ms=4 * HOUR)
        assert waits_for(long) == "closes_too_soon"

        short = an_approved_task(alice, dana, limit_ms=2 * HOUR)
        assert offered_to(rig)["task_id"] == str(short.pk)

    def test_a_gpu_that_others_use_gets_nothing(self, rig, alice, dana):
        rig.sync(metrics=[{"gpu": rig.devices[0].uuid, "foreign_processes": 1}])
        task = an_approved_task(alice, dana)
        assert waits_for(task) == "foreign_processes"

        rig.sync(metrics=[{"gpu": rig.devices[0].uuid, "foreign_processes": 0}])
        assert offered_to(rig)["task_id"] == str(task.pk)

    def test_the_more_reliable_of_two_hosts_is_taken(self, olga, alice, dana):
        bad, good = (Rig(olga.personal_account, a_device(), name=name) for name in ("bad", "good"))
        Host.objects.filter(pk=bad.host_id).update(reliability=0.8)
        an_approved_task(alice, dana)
        assert offered_to(good)

    def test_the_price_goes_before_reliability(self, olga, alice, dana):
        cheap = Rig(olga.personal_account, a_device(), name="cheap", price_per_hour=1)
        Rig(olga.personal_account, a_device(), name="good", price_per_hour=2)
        Host.objects.filter(pk=cheap.host_id).update(reliability=0.8)
        an_approved_task(alice, dana)
        assert offered_to(cheap)

    def test_a_price_set_later_is_for_the_next_task(self, rig, alice, dana):
        an_approved_task(alice, dana)
        running_on(rig)
        GPU.objects.select_related("host").get().offer(by=None, price_per_hour=10**6, now=clock.now())
        assert Attempt.objects.get().gpu_links.get().price_per_hour == 0


class TestStop:
    def test_it_is_stopped_at_the_end_free_of_charge_and_placed_again(self, rig, alice, dana):
        set_schedule(open_until(3, may_stop=True))
        task = an_approved_task(alice, dana, limit_ms=4 * HOUR, interruptible=True)
        offer = running_on(rig)
        has_run_for(offer, 3600)
        assert rig.sync()["stop"] == []

        Attempt.objects.update(stop_at=clock.now())
        (stop,) = rig.sync()["stop"]
        assert (stop["verdict"], stop["reason"]) == ("stop", "window_closed")
        rig.finish(offer, "CANCELLED", exit_code=None, code="window_closed", elapsed_ms=3_600_000)

        task.refresh_from_db()
        assert (task.status, task.infra_failures, task.user_failures) == ("APPROVED", 0, 0)
        assert hours_of(alice.personal_account) == (6 * HOUR, 4 * HOUR)

    def test_a_host_cannot_say_so_itself(self, rig, alice, dana):
        task = an_approved_task(alice, dana)
        offer = running_on(rig)
        rig.finish(offer, "CANCELLED", exit_code=None, code="window_closed")
        task.refresh_from_db()
        assert (task.status, task.infra_failures) == ("APPROVED", 1)
