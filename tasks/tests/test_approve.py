"""POST tasks/{id}/approve/: staff lets a task join the queue."""

from __future__ import annotations

import pytest

from gaas.audit.models import AuditEvent
from gaas.lib import clock
from tasks import services
from tasks.models import Scheduler, Task
from tasks.tests.rig import HOUR, a_task, an_approved_task, hours_of, refused, top_up, wallet_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


def approve(client, task, **body):
    return client.post(f"/api/v1/tasks/{task.pk}/approve/", body, format="json")


@pytest.fixture
def task(alice):
    return a_task(alice)


class TestApprove:
    def test_the_task_joins_the_queue(self, task, dana, api):
        answer = approve(api(dana), task, reason="fine")

        assert answer.status_code == 200, answer.content
        body = answer.json()
        assert (body["status"], body["hours_held"], body["position"]) == ("APPROVED", "2.000000", 1)
        assert body["approved_at"] is not None
        (step,) = body["approval_steps"]
        assert (step["status"], step["decided_by"], step["reason"]) == ("APPROVED", dana.email, "fine")

    def test_it_stands_in_the_history_and_the_audit_trail(self, task, dana, api):
        approve(api(dana), task, reason="fine")

        event = task.events.order_by("-id").first()
        assert (event.from_status, event.to_status, event.by_label, event.reason) == (
            "PENDING",
            "APPROVED",
            dana.email,
            "fine",
        )
        audit = AuditEvent.objects.get(action="task.approve")
        assert (audit.actor, audit.before, audit.after["status"]) == (dana, {"status": "PENDING"}, "APPROVED")

    def test_it_wakes_the_matcher_once_it_commits(self, task, dana, api, django_capture_on_commit_callbacks):
        before = Scheduler.objects.get().requested
        with django_capture_on_commit_callbacks(execute=True):
            approve(api(dana), task)
        assert Scheduler.objects.get().requested == before + 1

    def test_a_superuser_approves_even_an_own_task(self, root, api):
        assert approve(api(root), a_task(root)).status_code == 200


class TestTerms:
    def test_fewer_hours_give_the_rest_of_the_hold_back(self, task, alice, dana, api):
        body = approve(api(dana), task, hours="0.5").json()

        assert (body["hours"], body["hours_held"]) == ("0.500000", "0.500000")
        assert hours_of(alice.personal_account) == (9 * HOUR + HOUR // 2, HOUR // 2)

    def test_fewer_hours_give_money_back(self, alice, dana, api):
        top_up(alice.personal_account, 10_000_000)
        task = a_task(alice, funding="wallet", max_price_per_hour=1_000_001)
        assert wallet_of(alice.personal_account) == (7_999_998, 2_000_002)

        assert approve(api(dana), task, hours="0.333333").status_code == 200
        # ceil(1 000 001 × 1 199 998 / 3 600 000)
        assert wallet_of(alice.personal_account)[1] == 333_334

    def test_the_same_hours_change_nothing(self, task, alice, dana, api):
        assert approve(api(dana), task, hours="2").json()["hours"] == "2.000000"
        assert hours_of(alice.personal_account) == (8 * HOUR, 2 * HOUR)

    def test_it_refuses_more_hours_than_were_asked_for(self, task, alice, dana, api):
        refused(approve(api(dana), task, hours="2.000001"), 400, attr="hours")

        assert Task.objects.get().status == "PENDING"
        assert hours_of(alice.personal_account) == (8 * HOUR, 2 * HOUR)

    def test_staff_gives_a_priority(self, task, dana, api):
        assert approve(api(dana), task, priority=40).json()["priority"] == 40
        assert Task.objects.get().priority == 40

    @pytest.mark.parametrize(
        ("body", "code", "attr"),
        [
            ({"hours": "0"}, "min_value", "hours"),
            ({"hours": 1.5}, "not_exact", "hours"),
            ({"priority": 101}, "max_value", "priority"),
            ({"priority": "high"}, "invalid", "priority"),
            ({"reason": 5}, "invalid", "reason"),
            ({"status": "APPROVED"}, "unknown_field", "status"),
        ],
    )
    def test_it_refuses_bad_input(self, task, dana, api, body, code, attr):
        refused(approve(api(dana), task, **body), 400, code, attr)
        assert Task.objects.get().status == "PENDING"


class TestWhoMay:
    def test_a_submitter_may_not(self, task, alice, api):
        refused(approve(api(alice), task), 403, "permission_denied")

    def test_staff_may_not_approve_an_own_task(self, dana, api):
        task = a_task(dana)
        refused(approve(api(dana), task), 403, "own_task")
        assert Task.objects.get().status == "PENDING"

    def test_a_teammate_may_not(self, alice, bob, dana, lab, api):
        from accounts.services import grant_hours

        grant_hours(account=lab, gpu_ms=5 * HOUR, by=dana, reason="start", key="grant:lab")
        refused(approve(api(bob), a_task(alice, account=lab)), 403, "permission_denied")

    def test_an_outsider_finds_no_such_task(self, task, charlie, api):
        refused(approve(api(charlie), task), 404, "not_found")

    def test_nobody_may_without_a_log_in(self, task, api):
        refused(approve(api(), task), 401, "not_authenticated")


class TestTwice:
    def test_it_names_who_decided_and_when(self, task, dana, root, api):
        approve(api(dana), task)

        error = refused(approve(api(root), task), 409, "wrong_state", "status")

        assert dana.email in error["detail"]
        assert "APPROVED" in error["detail"]
        assert f"{task.events.order_by('-id').first().at:%Y-%m-%d %H:%M:%S}" in error["detail"]

    def test_it_refuses_hours_for_a_task_that_was_decided(self, task, alice, dana, api):
        approve(api(dana), task)

        refused(approve(api(dana), task, hours="1"), 409, "wrong_state")
        assert hours_of(alice.personal_account) == (8 * HOUR, 2 * HOUR)

    @pytest.mark.parametrize("decide", ["reject", "cancel"])
    def test_it_refuses_what_has_ended(self, task, alice, dana, root, api, decide):
        by = dana if decide == "reject" else alice
        getattr(services, decide)(Task.objects.get(), by=by, reason="no", now=clock.now())

        refused(approve(api(root), task), 409, "wrong_state")
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)

    def test_a_decision_by_what_was_read_long_ago_is_refused(self, alice, dana, root):
        from gaas.lib.errors import Conflict

        task = a_task(alice)
        stale = Task.objects.get(pk=task.pk)
        services.approve(task, by=dana, limit_ms=HOUR, now=clock.now())

        with pytest.raises(Conflict):
            services.approve(stale, by=root, limit_ms=HOUR // 2, now=clock.now())
        assert Task.objects.get().limit_ms == HOUR

    def test_what_is_approved_already_may_be_read_and_still_not_approved(self, alice, dana, root, api):
        refused(approve(api(root), an_approved_task(alice, dana)), 409, "wrong_state")
