"""POST tasks/{id}/complete/: staff ends a running program as done."""

from __future__ import annotations

import pytest

from gaas.audit.models import AuditEvent
from tasks.models import Task
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


def complete(client, task, **body):
    return client.post(f"/api/v1/tasks/{task.pk}/complete/", {"reason": "Done enough.", **body}, format="json")


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account)


class TestComplete:
    def test_it_stops_the_program_and_charges_what_was_metered(self, alice, dana, api, rig):
        task = an_approved_task(alice, dana)
        offer = running_on(rig)
        has_run_for(offer, 100)

        assert complete(api(dana), task).json()["status"] == "PROCESSING"
        (stop,) = rig.sync()["stop"]
        assert (stop["verdict"], stop["reason"]) == ("stop", "completed")
        rig.finish(offer, "CANCELLED", exit_code=143, elapsed_ms=70_000, result={"best": 3})

        task.refresh_from_db()
        assert (task.status, task.gpu_ms, task.result) == ("COMPLETED", 70_000, {"best": 3})
        assert hours_of(alice.personal_account) == (10 * HOUR - 70_000, 0)

    def test_it_is_audited_and_stands_in_the_history(self, alice, dana, api, rig):
        task = an_approved_task(alice, dana)
        running_on(rig)
        complete(api(dana), task)

        assert AuditEvent.objects.get(action="task.complete").reason == "Done enough."
        event = task.events.order_by("-id").first()
        assert (event.from_status, event.to_status, event.by) == ("PROCESSING", "PROCESSING", dana)

    def test_the_answer_to_a_start_that_comes_too_late_is_no(self, alice, dana, api, rig):
        task = an_approved_task(alice, dana)
        offered_to(rig)
        refused(complete(api(dana), task), 409, "wrong_state")
        assert Task.objects.get().complete_requested_at is None

    @pytest.mark.parametrize("body", [{"reason": ""}, {"reason": None}, {"reason": 1}])
    def test_it_requires_a_reason(self, alice, dana, api, body):
        refused(complete(api(dana), a_task(alice), **body), 400, attr="reason")


class TestWhoMay:
    def test_a_submitter_may_not(self, alice, dana, api, rig):
        task = an_approved_task(alice, dana)
        running_on(rig)
        refused(complete(api(alice), task), 403, "permission_denied")

    def test_an_outsider_finds_no_such_task(self, alice, charlie, api):
        refused(complete(api(charlie), a_task(alice)), 404, "not_found")


class TestWrongState:
    def test_only_a_running_task_is_completed(self, alice, dana, api):
        assert "PENDING since" in refused(complete(api(dana), a_task(alice)), 409, "wrong_state")["detail"]

    def test_one_that_is_being_ended_is_not_ended_again(self, alice, dana, api, rig):
        task = an_approved_task(alice, dana)
        running_on(rig)
        complete(api(dana), task)
        refused(complete(api(dana), task), 409, "wrong_state")
