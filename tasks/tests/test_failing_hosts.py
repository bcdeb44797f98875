"""Hosts that keep failing are drained with a reason; tasks that take hosts down are stopped."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.outbox.models import Mail
from gpus.models import Host
from tasks import services
from tasks.models import Attempt
from tasks.tests.rig import HOUR, Rig, an_approved_task, hours_of, offered_to, running_on
from tasks.tests.test_sweep import sweep

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

LOST = 60 + 301


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account)


def lose(rig: Rig) -> None:
    """Have a host fall silent while it runs something, and come back with nothing."""
    running_on(rig)
    sweep(after=LOST)
    rig.held = {}
    rig.sync()
    back_to_now()


def back_to_now() -> None:
    """Have what was noted in the future be noted now, so that the next offer comes after it."""
    Host.objects.filter(failed_at__isnull=False).update(failed_at=clock.now())


def break_down(rig: Rig, **how: object) -> None:
    rig.finish(running_on(rig), "FAILED", **{"fault": "host", "code": "sandbox_failed", "detail": "No bwrap.", **how})


class TestLosses:
    def test_three_in_a_row_drain_it_and_its_owner_is_told(self, rig, alice, dana, olga, api):
        for number in range(3):
            assert rig.host.status == "ACTIVE"
            an_approved_task(alice, dana, limit_ms=HOUR, title=f"{number}")
            lose(rig)

        host = rig.host
        assert (host.status, host.failures) == ("DRAINING", 3)
        assert "3 times in a row" in host.drained_for
        shown = api(olga).get(f"/api/v1/hosts/{host.pk}/").json()
        [trouble] = shown["troubles"]
        assert (trouble["code"], shown["failures"]) == ("failing", 3)
        assert "doctor" in trouble["hint"]
        letter = Mail.objects.get(subject__startswith="Host rig")
        assert letter.to == olga.email
        assert trouble["detail"] in letter.body
        assert trouble["hint"] in letter.body
        drained = AuditEvent.objects.get(action="host.draining")
        assert drained.reason == host.drained_for

    def test_undrain_forgives(self, rig, alice, dana, olga, api):
        for _ in range(3):
            an_approved_task(alice, dana, limit_ms=HOUR)
            lose(rig)

        answer = api(olga).post(f"/api/v1/hosts/{rig.host_id}/undrain/", {})

        assert answer.status_code == 200
        body = answer.json()
        assert (body["status"], body["failures"], body["troubles"]) == ("ACTIVE", 0, [])
        an_approved_task(alice, dana, limit_ms=HOUR)
        lose(rig)
        assert (rig.host.status, rig.host.failures) == ("ACTIVE", 1)

    def test_one_that_ends_well_forgives(self, rig, alice, dana):
        for _ in range(2):
            an_approved_task(alice, dana, limit_ms=HOUR)
            lose(rig)
        assert rig.host.failures == 2
        offer = running_on(rig)
        rig.finish(offer)
        assert (rig.host.failures, rig.host.status) == (0, "ACTIVE")

    def test_one_outage_counts_once_whatever_it_takes(self, alice, dana, olga):
        from gpus.tests.fleet import a_device

        rig = Rig(olga.personal_account, *(a_device(index=number) for number in range(4)))
        for _ in range(4):
            an_approved_task(alice, dana, limit_ms=HOUR)
        services.schedule()
        for offer in rig.sync()["attempts"]:
            rig.held[offer["id"]] = {"id": offer["id"], "epoch": offer["epoch"], "state": "PREPARING"}
            rig.start(offer)

        sweep(after=LOST)

        assert Attempt.objects.filter(status="LOST").count() == 4
        assert (rig.host.failures, rig.host.status) == (1, "ACTIVE")

    def test_a_host_in_maintenance_is_left_there(self, rig, alice, dana, olga):
        for _ in range(2):
            an_approved_task(alice, dana, limit_ms=HOUR)
            lose(rig)
        running_on(rig)
        rig.host.maintenance(by=olga, reason="new fans", now=clock.now())
        sweep(after=LOST)
        assert (rig.host.status, rig.host.drained_for) == ("MAINTENANCE", "")

    def test_one_task_that_kills_its_only_host_is_no_endless_loop(self, rig, alice, dana):
        task = an_approved_task(alice, dana)
        for _ in range(3):
            lose(rig)
        assert services.schedule() == 0
        task.refresh_from_db()
        assert (task.status, task.infra_failures) == ("APPROVED", 3)


class TestFaults:
    def test_three_tasks_that_it_cannot_start_drain_it(self, rig, alice, dana):
        for _ in range(3):
            an_approved_task(alice, dana, limit_ms=HOUR)
        for number in range(3):
            assert rig.host.failures == number
            break_down(rig)
            # The task is first in the queue again, so it would be the same one.
            services.cancel(Attempt.objects.order_by("-id").first().task, by=alice, now=clock.now())
        assert rig.host.status == "DRAINING"
        assert rig.host.drained_for.endswith("No bwrap.")

    def test_one_task_alone_cannot_have_it_drained(self, rig, alice, dana, settings):
        task = an_approved_task(alice, dana)
        for _ in range(settings.INFRA_RETRIES + 1):
            break_down(rig)
        task.refresh_from_db()
        assert (task.status, rig.host.status, rig.host.failures) == ("FAILED", "ACTIVE", 1)

    @pytest.mark.parametrize("code", ["bad_payload", "executor"])
    def test_what_no_host_could_run_says_nothing_against_it(self, rig, alice, dana, code):
        for _ in range(4):
            an_approved_task(alice, dana, limit_ms=HOUR)
            rig.finish(offered_to(rig), "REFUSED", exit_code=None, code=code)
        assert (rig.host.failures, rig.host.status) == (0, "ACTIVE")

    def test_offers_that_it_never_takes_drain_it(self, rig, alice, dana):
        for _ in range(3):
            an_approved_task(alice, dana, limit_ms=HOUR)
            services.schedule()
            sweep(after=61)
            back_to_now()
        assert (rig.host.status, rig.host.failures) == ("DRAINING", 3)

    def test_a_shutdown_that_it_announced_is_none(self, rig, alice, dana):
        an_approved_task(alice, dana)
        break_down(rig, code="host_shutdown")
        assert rig.host.failures == 0


class TestPoison:
    def test_a_task_that_takes_three_hosts_down_is_given_to_no_fourth(self, alice, dana, olga):
        task = an_approved_task(alice, dana)
        for number in range(3):
            victim = Rig(olga.personal_account, name=f"victim {number}")
            running_on(victim)
            sweep(after=LOST)
            Host.objects.update(lease_expires_at=clock.now())
        task.refresh_from_db()
        assert (task.status, task.failure_code, task.infra_failures) == ("FAILED", "infrastructure", 3)
        assert task.failure_detail.startswith("3 different hosts were lost while it ran")
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)

    def test_hosts_lost_before_it_started_there_are_not_held_against_it(self, alice, dana, olga):
        task = an_approved_task(alice, dana)
        for number in range(3):
            victim = Rig(olga.personal_account, name=f"victim {number}")
            offered_to(victim)
            sweep(after=LOST)
            Host.objects.update(lease_expires_at=clock.now())
        task.refresh_from_db()
        assert (task.status, task.infra_failures) == ("APPROVED", 0)


class TestSpoiltInput:
    """A stored file went bad: every host says so, and none can help it."""

    HOW = {"exit_code": None, "code": "input_corrupt", "detail": "a.csv did not arrive as it was kept."}

    def test_after_three_hosts_it_fails_by_the_platforms_fault_and_is_free(self, alice, dana, olga):
        task = an_approved_task(alice, dana)
        for number in range(3):
            task.refresh_from_db()
            assert task.status == "APPROVED"
            rig = Rig(olga.personal_account, name=f"rig {number}")
            rig.finish(offered_to(rig), "REFUSED", fault="host", **self.HOW)
            assert (rig.host.failures, rig.host.status) == (0, "ACTIVE")
            Host.objects.update(lease_expires_at=clock.now())
        task.refresh_from_db()
        assert (task.status, task.failure_code, task.failure_fault) == ("FAILED", "input_corrupt", "platform")
        assert "3 times, on 3 hosts" in task.failure_detail
        assert "send that file again" in task.failure_detail
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)

    def test_a_fleet_of_one_host_does_not_try_for_ever(self, rig, alice, dana, settings):
        settings.INFRA_RETRIES = 1
        task = an_approved_task(alice, dana)
        for _ in range(2):
            rig.finish(offered_to(rig), "REFUSED", fault="host", **self.HOW)
            Attempt.objects.update(ended_at=clock.now() - timedelta(hours=1))
        task.refresh_from_db()
        assert (task.status, task.failure_code, task.failure_fault) == ("FAILED", "input_corrupt", "platform")

    def test_one_host_with_a_bad_disk_is_passed_by(self, rig, alice, dana, olga):
        task = an_approved_task(alice, dana)
        rig.finish(offered_to(rig), "REFUSED", fault="host", **self.HOW)
        other = Rig(olga.personal_account, name="other")
        other.finish(running_on(other))
        task.refresh_from_db()
        assert task.status == "COMPLETED"
