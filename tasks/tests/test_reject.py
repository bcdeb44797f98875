"""POST tasks/{id}/reject/: staff says no, and why."""

from __future__ import annotations

import pytest

from gaas.audit.models import AuditEvent
from tasks.models import ApprovalStep, Task
from tasks.tests.rig import HOUR, a_task, an_approved_task, hours_of, refused

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


def reject(client, task, **body):
    return client.post(f"/api/v1/tasks/{task.pk}/reject/", body, format="json")


@pytest.fixture
def task(alice):
    return a_task(alice)


class TestReject:
    def test_it_gives_the_hours_back(self, task, alice, dana, api):
        answer = reject(api(dana), task, reason="Too vague.")

        assert answer.status_code == 200, answer.content
        assert (answer.json()["status"], answer.json()["hours_held"]) == ("REJECTED", "0.000000")
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)

    def test_the_submitter_sees_the_reason(self, task, alice, dana, api):
        reject(api(dana), task, reason="Too vague.\nSay what it trains.")

        client = api(alice)
        (step,) = client.get(f"/api/v1/tasks/{task.pk}/").json()["approval_steps"]
        assert (step["status"], step["reason"]) == ("REJECTED", "Too vague.\nSay what it trains.")
        event = client.get(f"/api/v1/tasks/{task.pk}/events/").json()["results"][0]
        assert (event["to_status"], event["by"], event["reason"]) == (
            "REJECTED",
            dana.email,
            "Too vague.\nSay what it trains.",
        )

    def test_it_is_audited(self, task, dana, api):
        reject(api(dana), task, reason="No.")
        audit = AuditEvent.objects.get(action="task.reject")
        assert (audit.actor, audit.reason, audit.after) == (dana, "No.", {"status": "REJECTED"})

    @pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "  \n "}, {"reason": None}])
    def test_it_requires_a_reason(self, task, dana, api, body):
        refused(reject(api(dana), task, **body), 400, attr="reason")
        assert Task.objects.get().status == "PENDING"
        assert ApprovalStep.objects.get().status == "PENDING"

    def test_it_takes_no_hours(self, task, dana, api):
        refused(reject(api(dana), task, reason="No.", hours="1"), 400, "unknown_field", "hours")


class TestWhoMay:
    def test_a_submitter_may_not(self, task, alice, api):
        refused(reject(api(alice), task, reason="No."), 403, "permission_denied")

    def test_staff_may_not_reject_an_own_task(self, dana, api):
        refused(reject(api(dana), a_task(dana), reason="No."), 403, "own_task")

    def test_an_outsider_finds_no_such_task(self, task, charlie, api):
        refused(reject(api(charlie), task, reason="No."), 404, "not_found")


class TestTwice:
    def test_it_names_who_decided(self, task, dana, root, api):
        reject(api(dana), task, reason="No.")
        error = refused(reject(api(root), task, reason="No."), 409, "wrong_state")
        assert dana.email in error["detail"]

    def test_an_approved_task_is_not_rejected(self, alice, dana, root, api):
        refused(reject(api(root), an_approved_task(alice, dana), reason="No."), 409, "wrong_state")
        assert hours_of(alice.personal_account) == (8 * HOUR, 2 * HOUR)
