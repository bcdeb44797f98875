"""POST tasks/{id}/cancel/: at once where nothing runs, else when the host says that no process is left."""

from __future__ import annotations

import pytest

from gaas.audit.models import AuditEvent
from gaas.lib import clock
from gaas.lib.errors import Conflict
from tasks import services
from tasks.models import ApprovalStep, Attempt, AttemptGPU, Task
from tasks.tests.rig import (
    HOUR,
    Rig,
    a_task,
    an_approved_task,
    has_run_for,
    hours_of,
    offered_to,
    refused,
    running_on,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


def cancel(client, task, **body):
    return client.post(f"/api/v1/tasks/{task.pk}/cancel/", body, format="json")


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account)


class TestBeforeItRuns:
    def test_a_pending_task_ends_at_once(self, alice, api):
        task = a_task(alice)

        body = cancel(api(alice), task, reason="Wrong file.").json()

        assert (body["status"], body["is_cancelling"], body["hours_held"]) == ("CANCELLED", False, "0.000000")
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)
        assert ApprovalStep.objects.get().status == "VOID"
        assert task.events.order_by("-id").first().reason == "Wrong file."

    def test_a_queued_task_ends_at_once(self, alice, dana, api):
        task = an_approved_task(alice, dana)

        assert cancel(api(alice), task).json()["status"] == "CANCELLED"
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)
        assert services.schedule() == 0

    def test_an_offer_that_no_host_took_ends_with_its_next_sync(self, alice, dana, api, rig):
        task = an_approved_task(alice, dana)
        services.schedule()

        body = cancel(api(alice), task).json()
        assert (body["status"], body["is_cancelling"]) == ("ASSIGNED", True)
        answer = rig.sync()

        assert (answer["attempts"], answer["stop"]) == ([], [])
        task.refresh_from_db()
        assert (task.status, task.attempts.get().status) == ("CANCELLED", "CANCELLED")
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)
        assert not AttemptGPU.objects.filter(is_open=True).exists()

    def test_a_preparing_attempt_is_stopped_and_costs_nothing(self, alice, dana, api, rig):
        task = an_approved_task(alice, dana)
        offer = offered_to(rig)
        rig.sync()

        assert cancel(api(alice), task).json()["is_cancelling"]
        (stop,) = rig.sync()["stop"]
        assert (stop["id"], stop["verdict"], stop["reason"]) == (offer["id"], "stop", "cancelled")
        rig.start(offer, status=409)
        assert rig.finish(offer, "CANCELLED", exit_code=None)["task_status"] == "CANCELLED"
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)

    def test_a_queued_retry_pays_for_what_ran_before(self, alice, dana, api, rig):
        task = an_approved_task(alice, dana, retries=1)
        offer = running_on(rig)
        has_run_for(offer, 60)
        rig.finish(offer, "FAILED", elapsed_ms=60_000)
        task.refresh_from_db()
        assert task.status == "APPROVED"

        body = cancel(api(alice), task).json()

        assert (body["status"], body["gpu_ms"]) == ("CANCELLED", 60_000)
        assert hours_of(alice.personal_account) == (10 * HOUR - 60_000, 0)


class TestWhileItRuns:
    def test_it_shows_cancelling_until_the_host_confirms(self, alice, dana, api, rig):
        task = an_approved_task(alice, dana)
        offer = running_on(rig)
        has_run_for(offer, 100)
        revision = rig.host.revision

        body = cancel(api(alice), task, reason="Enough.").json()

        assert (body["status"], body["is_cancelling"]) == ("PROCESSING", True)
        assert rig.host.revision == revision + 1
        assert hours_of(alice.personal_account) == (8 * HOUR, 2 * HOUR)
        answer = rig.sync()
        assert ([s["verdict"] for s in answer["stop"]], answer["attempts"]) == (["stop"], [])
        rig.finish(offer, "CANCELLED", exit_code=143, elapsed_ms=90_000)
        task.refresh_from_db()
        assert (task.status, task.exit_code, task.gpu_ms) == ("CANCELLED", 143, 90_000)
        assert hours_of(alice.personal_account) == (10 * HOUR - 90_000, 0)

    def test_it_wins_over_a_success_that_comes_after_it(self, alice, dana, api, rig):
        task = an_approved_task(alice, dana)
        offer = running_on(rig)
        cancel(api(alice), task)

        assert rig.finish(offer, "SUCCEEDED")["task_status"] == "CANCELLED"
        assert Attempt.objects.get().status == "SUCCEEDED"

    def test_it_loses_against_a_finish_that_came_before(self, alice, dana, api, rig):
        task = an_approved_task(alice, dana)
        rig.finish(running_on(rig))

        refused(cancel(api(alice), task), 409, "wrong_state")
        assert Task.objects.get().status == "COMPLETED"

    def test_a_second_one_is_told_since_when(self, alice, dana, api, rig):
        task = an_approved_task(alice, dana)
        running_on(rig)
        cancel(api(alice), task)

        assert "being cancelled since" in refused(cancel(api(alice), task), 409, "wrong_state")["detail"]


class TestWhoMay:
    def test_a_manager_of_the_account_may(self, alice, bob, dana, lab, api):
        from accounts.services import grant_hours

        grant_hours(account=lab, gpu_ms=5 * HOUR, by=dana, reason="start", key="grant:lab")
        assert cancel(api(alice), a_task(bob, account=lab)).status_code == 200

    def test_a_fellow_member_may_not(self, alice, bob, dana, lab, api):
        from accounts.services import grant_hours

        grant_hours(account=lab, gpu_ms=5 * HOUR, by=dana, reason="start", key="grant:lab")
        refused(cancel(api(bob), a_task(alice, account=lab)), 403, "permission_denied")

    def test_an_operator_may_and_is_audited(self, alice, dana, api):
        assert cancel(api(dana), a_task(alice), reason="Wasteful.").status_code == 200
        assert AuditEvent.objects.get(action="task.cancel").reason == "Wasteful."

    def test_an_outsider_finds_no_such_task(self, alice, charlie, api):
        refused(cancel(api(charlie), a_task(alice)), 404, "not_found")

    def test_it_refuses_unknown_fields(self, alice, api):
        refused(cancel(api(alice), a_task(alice), force=True), 400, "unknown_field", "force")


class TestWrongState:
    @pytest.mark.parametrize("end", ["REJECTED", "CANCELLED"])
    def test_an_ended_task_stays_as_it_is(self, alice, dana, api, end):
        task = a_task(alice)
        if end == "REJECTED":
            services.reject(task, by=dana, reason="No.", now=clock.now())
        else:
            services.cancel(task, by=alice, now=clock.now())

        error = refused(cancel(api(alice), task), 409, "wrong_state", "status")
        assert f"{end} since" in error["detail"]

    def test_a_cancel_of_a_task_that_was_approved_meanwhile_asks_again(self, alice, dana):
        stale = a_task(alice)
        services.approve(Task.objects.get(), by=dana, now=clock.now())

        with pytest.raises(Conflict):
            services.cancel(stale, by=alice, now=clock.now())
        assert Task.objects.get().status == "APPROVED"
