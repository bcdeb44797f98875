"""The sweep: what rows say is due."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import connection

from accounts.ledger.models import Hold
from gaas.lib import clock
from gaas.lib.errors import DomainError
from gpus.models import Host
from tasks import services
from tasks.models import Attempt, AttemptGPU, Scheduler, Task
from tasks.tests.rig import (
    HOUR,
    Rig,
    a_task,
    an_approved_task,
    has_run_for,
    hours_of,
    offered_to,
    running_on,
    top_up,
    wallet_of,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account)


def sweep(after: float = 0) -> None:
    """Run a tick that many seconds from now, as one of an unbroken row of ticks."""
    now = clock.now() + timedelta(seconds=after)
    Scheduler.objects.update(last_sweep_at=now - timedelta(seconds=5), sweeping_since=now - timedelta(days=1))
    services.sweep(now=now)


def sweep_at(began: datetime, seconds: int) -> None:
    """Run the next tick of a row that goes on, so many seconds after a moment."""
    now = began + timedelta(seconds=seconds)
    Scheduler.objects.update(last_sweep_at=now - timedelta(seconds=5))
    services.sweep(now=now)


class TestOffers:
    def test_an_offer_that_nobody_took_is_placed_elsewhere(self, rig, alice, dana, olga):
        task = an_approved_task(alice, dana)
        services.schedule()
        sweep(after=59)
        assert Attempt.objects.get().status == "OFFERED"

        sweep(after=61)

        attempt = Attempt.objects.get()
        assert (attempt.status, attempt.failure_code, attempt.fault) == ("REFUSED", "offer_ignored", "host")
        task.refresh_from_db()
        assert (task.status, task.infra_failures) == ("APPROVED", 0)
        assert services.schedule() == 0  # not there again for a while
        other = Rig(olga.personal_account, name="other")
        assert offered_to(other)["epoch"] == 2

    def test_after_a_gap_hosts_have_time_to_come_back_for_theirs(self, rig, alice, dana):
        an_approved_task(alice, dana)
        services.schedule()
        now = clock.now()
        Attempt.objects.update(offered_at=now - timedelta(seconds=300))
        Scheduler.objects.update(last_sweep_at=now - timedelta(seconds=290))

        for seconds in range(0, 60, 5):
            services.sweep(now=now + timedelta(seconds=seconds))
        assert Attempt.objects.get().status == "OFFERED"
        services.sweep(now=now + timedelta(seconds=65))
        assert Attempt.objects.get().status == "REFUSED"

    def test_what_waits_in_the_queue_of_a_cluster_has_longer(self, rig, alice, dana):
        an_approved_task(alice, dana)
        offer = offered_to(rig)
        rig.held[offer["id"]] |= {"phase": {"text": "waits for Resources", "queued": True}}
        began = clock.now()
        rig.sync()
        Attempt.objects.update(prepared_from=began - timedelta(seconds=1_700))
        rig.sync()
        Host.objects.update(lease_expires_at=began + timedelta(days=2))
        sweep(after=300)
        assert Attempt.objects.get().status == "PREPARING"

        # Out of the queue the limit of a preparation runs from there.
        sweep(after=1_900)
        assert Attempt.objects.get().failure_code == "preparation_too_long"

    def test_no_queue_is_waited_in_for_ever(self, rig, alice, dana, settings):
        settings.QUEUED_SECONDS = 3_600
        an_approved_task(alice, dana)
        offer = offered_to(rig)
        rig.held[offer["id"]] |= {"phase": {"text": "waits for Resources", "queued": True}}
        rig.sync()
        Attempt.objects.update(offered_at=clock.now() - timedelta(seconds=3_601))
        rig.sync()
        sweep()
        assert Attempt.objects.get().failure_code == "preparation_too_long"

    def test_what_came_into_a_queue_since_the_sweep_looked_goes_on(self, rig, alice, dana):
        an_approved_task(alice, dana)
        offered_to(rig)
        rig.sync()
        now = clock.now()
        Host.objects.update(lease_expires_at=now + timedelta(hours=1))
        Attempt.objects.update(prepared_from=now - timedelta(seconds=1_801))

        def sync_comes_first(execute, sql, params, many, context):
            if sql.startswith("SELECT") and '"tasks_task"' in sql and Attempt.objects.get().prepared_from < now:
                Attempt.objects.update(prepared_from=now)
            return execute(sql, params, many, context)

        with connection.execute_wrapper(sync_comes_first):
            sweep()
        assert Attempt.objects.get().status == "PREPARING"

    def test_a_preparation_has_its_limit(self, rig, alice, dana):
        task = an_approved_task(alice, dana)
        offered_to(rig)
        rig.sync()
        Host.objects.update(lease_expires_at=clock.now() + timedelta(hours=1))
        sweep(after=1799)
        assert Attempt.objects.get().status == "PREPARING"

        sweep(after=1801)

        assert (Attempt.objects.get().status, Attempt.objects.get().failure_code) == (
            "REFUSED",
            "preparation_too_long",
        )
        task.refresh_from_db()
        assert task.status == "APPROVED"

    def test_a_cancelled_offer_of_a_silent_host_ends_with_it(self, rig, alice, dana):
        task = an_approved_task(alice, dana)
        services.schedule()
        services.cancel(Task.objects.get(), by=alice, now=clock.now())
        sweep(after=61)
        task.refresh_from_db()
        assert task.status == "CANCELLED"
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)


class TestLostHosts:
    def test_a_missed_lease_alone_takes_nothing_away(self, rig, alice, dana):
        an_approved_task(alice, dana)
        running_on(rig)

        sweep(after=60 + 299)

        assert Attempt.objects.get().status == "RUNNING"
        assert services.schedule() == 0

    def test_after_the_reconnect_window_the_grant_is_void(self, rig, alice, dana):
        task = an_approved_task(alice, dana)
        offer = running_on(rig)
        has_run_for(offer, 100)
        rig.held[offer["id"]]["elapsed_ms"] = 90_000
        rig.sync()

        sweep(after=60 + 301)

        attempt = Attempt.objects.get()
        task.refresh_from_db()
        assert (attempt.status, attempt.failure_code, attempt.fault) == ("LOST", "host_lost", "host")
        # Metered to the last sync for the record, and charged to nobody.
        assert 90_000 <= attempt.metered_ms <= 101_000
        assert (task.status, task.infra_failures, task.gpu_ms) == ("APPROVED", 1, 0)
        assert not AttemptGPU.objects.filter(is_open=True).exists()

    def test_the_host_is_told_when_it_comes_back(self, rig, alice, dana):
        an_approved_task(alice, dana)
        offer = running_on(rig)
        sweep(after=60 + 301)

        answer = rig.sync()

        assert ([s["verdict"] for s in answer["stop"]], answer["attempts"]) == (["discard"], [])
        assert rig.finish(offer, status=409)["errors"][0]["code"] == "lease_lost"

    def test_six_losses_end_the_task(self, rig, alice, dana, settings):
        settings.HOST_FAILURES = 100
        task = an_approved_task(alice, dana)
        for _ in range(settings.INFRA_RETRIES + 1):
            running_on(rig)
            sweep(after=60 + 301)
            rig.held = {}
            rig.sync()
        task.refresh_from_db()
        assert (task.status, task.failure_code, task.infra_failures) == ("FAILED", "infrastructure", 6)
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)


class TestGap:
    def test_a_platform_that_was_away_extends_leases_and_voids_nothing(self, rig, alice, dana):
        an_approved_task(alice, dana)
        running_on(rig)
        now = clock.now() + timedelta(hours=1)
        Scheduler.objects.update(last_sweep_at=now - timedelta(minutes=59, seconds=30))

        services.sweep(now=now)

        assert Attempt.objects.get().status == "RUNNING"
        assert Host.objects.get().lease_expires_at == now + timedelta(seconds=60)
        for seconds in range(5, 360, 5):
            services.sweep(now=now + timedelta(seconds=seconds))
        assert Attempt.objects.get().status == "RUNNING"
        services.sweep(now=now + timedelta(seconds=361))
        assert Attempt.objects.get().status == "LOST"

    def test_the_first_tick_ever_is_a_gap_too(self, rig):
        now = clock.now() + timedelta(seconds=200)
        services.sweep(now=now)
        assert Host.objects.get().lease_expires_at == now + timedelta(seconds=60)

    def test_of_a_host_that_was_silent_before_the_gap_does_not_count(self, rig, alice, dana):
        an_approved_task(alice, dana)
        running_on(rig)
        now = clock.now() + timedelta(hours=1)
        silent_since = now - timedelta(minutes=30, seconds=100)
        Host.objects.update(lease_expires_at=silent_since)
        Scheduler.objects.update(last_sweep_at=now - timedelta(minutes=30))

        services.sweep(now=now)

        # Not reachable, so nothing new is given to it; as much of its window is left as there was.
        assert Host.objects.get().lease_expires_at == now - timedelta(seconds=100)
        sweep_at(now, 199)
        assert Attempt.objects.get().status == "RUNNING"
        sweep_at(now, 201)
        assert Attempt.objects.get().status == "LOST"

    def test_a_platform_that_starts_again_and_again_renews_nobody_for_ever(self, rig, alice, dana):
        an_approved_task(alice, dana)
        running_on(rig)
        now = clock.now()
        Scheduler.objects.update(last_sweep_at=now)
        for minutes in range(1, 4):
            services.sweep(now=now + timedelta(minutes=minutes))
            sweep_at(now + timedelta(minutes=minutes), 5)
        # Heard before the first gap, so it had a period after that, and only what was left of it after the others.
        assert Host.objects.get().lease_expires_at < now + timedelta(minutes=4)

    def test_a_clock_that_jumps_back_leaves_nobody_a_lease_for_an_hour(self, rig):
        now = clock.now() - timedelta(hours=1)
        Scheduler.objects.update(last_sweep_at=clock.now())
        services.sweep(now=now)
        assert Host.objects.get().lease_expires_at == now + timedelta(seconds=60)

    def test_a_host_that_was_given_up_before_stays_so(self, rig):
        now = clock.now()
        Host.objects.update(lease_expires_at=now - timedelta(days=2))
        Scheduler.objects.update(last_sweep_at=now - timedelta(hours=1))
        services.sweep(now=now)
        assert Host.objects.get().lease_expires_at == now - timedelta(days=2)


class TestExpiry:
    @pytest.mark.parametrize("funding", ["quota", "wallet"])
    def test_case_55_approval_lapses_and_the_hold_is_released(self, alice, olga, dana, funding):
        Rig(olga.personal_account, price_per_hour=1_000_000)
        top_up(alice.personal_account, 9_000_000)
        task = a_task(alice, max_wait_ms=HOUR, funding=funding)
        sweep(after=3_599)
        assert Task.objects.get().status == "PENDING"
        assert (Hold.objects.get().state, Hold.objects.get().amount > 0) == ("open", True)

        sweep(after=3_601)

        task.refresh_from_db()
        assert task.status == "EXPIRED"
        assert task.approval_steps.get().status == "VOID"
        assert "waited for an approval" in task.events.order_by("-id").first().reason
        assert Hold.objects.get().state == "released"
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)
        assert wallet_of(alice.personal_account) == (9_000_000, 0)
        with pytest.raises(DomainError):
            services.approve(task, by=dana, now=clock.now())

    def test_a_task_that_found_no_gpu_in_time_expires(self, alice, dana):
        task = an_approved_task(alice, dana, max_wait_ms=HOUR)
        sweep(after=3_601)
        assert "waited for free GPUs" in task.events.order_by("-id").first().reason
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)

    def test_a_task_that_did_start_in_time_does_not(self, rig, alice, dana):
        task = an_approved_task(alice, dana, max_wait_ms=HOUR)
        rig.finish(running_on(rig), "FAILED", fault="host", code="disk")
        sweep(after=3_601)
        task.refresh_from_db()
        assert task.status == "APPROVED"

    def test_a_task_without_a_limit_waits_for_ever(self, alice):
        a_task(alice)
        sweep(after=10**7)
        assert Task.objects.get().status == "PENDING"


class TestWake:
    def test_a_queue_asks_for_a_pass(self, alice, dana, django_capture_on_commit_callbacks):
        an_approved_task(alice, dana)
        before = Scheduler.objects.get().requested
        with django_capture_on_commit_callbacks(execute=True):
            sweep()
        assert Scheduler.objects.get().requested == before + 1

    def test_an_empty_queue_asks_for_none(self, alice, django_capture_on_commit_callbacks):
        a_task(alice)
        with django_capture_on_commit_callbacks() as callbacks:
            sweep()
        assert callbacks == []


class TestTrouble:
    def test_one_task_that_cannot_be_ended_keeps_no_other_waiting(self, alice, bob):
        broken, sound = (a_task(user, max_wait_ms=HOUR) for user in (alice, bob))
        # Closed behind the task's back, so that its release is refused.
        hold = Hold.objects.filter(pk=broken.hold_id)
        hold.update(state="captured", captured=2 * HOUR, closed_at=clock.now())

        sweep(after=3_601)

        assert [Task.objects.get(pk=task.pk).status for task in (broken, sound)] == ["PENDING", "EXPIRED"]
        hold.update(state="open", captured=0, closed_at=None)
