"""POST tasks/{id}/retry/: the same once more, as a new task."""

from __future__ import annotations

import pytest

from gaas.lib import clock
from tasks import services
from tasks.models import Task
from tasks.tests.rig import HOUR, a_task, hours_of, refused

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


def retry(client, task, body=None):
    return client.post(f"/api/v1/tasks/{task.pk}/retry/", body, format="json")


@pytest.fixture
def ended(alice, dana):
    task = a_task(alice, env={"A": "b"}, labels={"rack": "b3"}, cost_code="P-7", retries=2)
    services.approve(task, by=dana, limit_ms=HOUR, priority=9, now=clock.now())
    services.cancel(task, by=alice, now=clock.now())
    return task


class TestRetry:
    def test_it_is_a_new_task_with_hold_and_approvals_of_its_own(self, ended, alice, api):
        answer = retry(api(alice), ended)

        assert answer.status_code == 201, answer.content
        body = answer.json()
        assert (body["status"], body["retry_of"], body["hours_held"]) == ("PENDING", str(ended.pk), "1.000000")
        assert body["approval_steps"][0]["status"] == "PENDING"
        assert hours_of(alice.personal_account) == (9 * HOUR, HOUR)

    def test_it_asks_for_the_same(self, ended, alice, api):
        retry(api(alice), ended)

        again = Task.objects.exclude(pk=ended.pk).get()
        same = ("title", "kind", "spec", "env", "gpus", "limit_ms", "labels", "cost_code", "retries", "account_id")
        assert [getattr(again, name) for name in same] == [getattr(ended, name) for name in same]
        assert again.priority == 0  # what staff gave was for the first
        assert again.hold_id != ended.hold_id

    def test_it_refuses_when_the_hours_ran_out(self, ended, alice, api):
        a_task(alice, limit_ms=10 * HOUR)
        refused(retry(api(alice), ended), 400, "insufficient_quota", "hours")
        assert Task.objects.count() == 2

    def test_a_live_task_is_not_submitted_again(self, alice, api):
        refused(retry(api(alice), a_task(alice)), 409, "wrong_state", "status")

    @pytest.mark.parametrize(("body", "status"), [({"hours": "1"}, 400), ([1], 400), ({}, 201)])
    def test_it_takes_no_fields(self, ended, alice, api, body, status):
        assert retry(api(alice), ended, body).status_code == status


class TestWhoMay:
    def test_a_manager_of_the_account_may(self, alice, bob, dana, lab, api):
        from accounts.services import grant_hours

        grant_hours(account=lab, gpu_ms=5 * HOUR, by=dana, reason="start", key="grant:lab")
        task = a_task(bob, account=lab)
        services.cancel(task, by=bob, now=clock.now())

        assert retry(api(alice), task).json()["submitted_by"] == alice.email

    def test_a_fellow_member_may_not(self, alice, bob, dana, lab, api):
        from accounts.services import grant_hours

        grant_hours(account=lab, gpu_ms=5 * HOUR, by=dana, reason="start", key="grant:lab")
        task = a_task(alice, account=lab)
        services.cancel(task, by=alice, now=clock.now())

        refused(retry(api(bob), task), 403, "permission_denied")

    def test_who_may_not_is_told_so_whatever_its_state(self, alice, bob, dana, lab, api):
        from accounts.services import grant_hours

        grant_hours(account=lab, gpu_ms=5 * HOUR, by=dana, reason="start", key="grant:lab")
        refused(retry(api(bob), a_task(alice, account=lab)), 403, "permission_denied")

    def test_staff_who_only_sees_it_may_not(self, ended, dana, api):
        refused(retry(api(dana), ended), 403, "permission_denied")

    def test_an_outsider_finds_no_such_task(self, ended, charlie, api):
        refused(retry(api(charlie), ended), 404, "not_found")
