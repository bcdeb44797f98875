"""approvals/: the steps that wait for the caller, and their decisions."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission

from tasks.models import ApprovalStep, Task
from tasks.tests.rig import HOUR, a_task, an_approved_task, hours_of, refused

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

URL = "/api/v1/approvals/"


@pytest.fixture
def step(alice):
    return a_task(alice).approval_steps.get()


def waiting_for(client) -> list[str]:
    return [row["id"] for row in client.get(URL).json()["results"]]


class TestApproversAlone:
    def test_who_may_approve_and_nothing_else_decides_what_the_list_shows(self, step, charlie, api):
        charlie.user_permissions.add(Permission.objects.get(codename="approve_task"))
        client = api(charlie)
        assert waiting_for(client) == [str(step.pk)]
        assert client.post(f"{URL}{step.pk}/approve/", {}, format="json").status_code == 200


class TestList:
    def test_it_has_what_waits_for_staff(self, step, alice, dana, api):
        an_approved_task(alice, dana)

        (row,) = api(dana).get(URL).json()["results"]

        assert (row["id"], row["kind"], row["status"]) == (str(step.pk), "staff", "PENDING")
        assert (row["task"]["id"], row["task"]["submitted_by"]) == (str(step.task_id), alice.email)

    def test_it_leaves_out_own_tasks(self, step, dana, root, api):
        own = a_task(dana).approval_steps.get()
        mine = a_task(root).approval_steps.get()
        assert waiting_for(api(dana)) == [str(mine.pk), str(step.pk)]
        assert waiting_for(api(root)) == [str(mine.pk), str(own.pk), str(step.pk)]

    def test_it_is_empty_for_who_decides_nothing(self, step, alice, charlie, api):
        assert waiting_for(api(alice)) == waiting_for(api(charlie)) == []

    def test_it_asks_who_calls(self, api):
        refused(api().get(URL), 401)

    def test_it_costs_the_same_however_many_wait(self, alice, dana, api, django_assert_num_queries):
        client = api(dana)
        a_task(alice, limit_ms=HOUR)
        client.get(URL)
        with django_assert_num_queries(4):
            client.get(URL)
        for _ in range(4):
            a_task(alice, limit_ms=HOUR)
        with django_assert_num_queries(4):
            assert len(client.get(URL).json()["results"]) == 5


class TestDecide:
    def test_approve(self, step, alice, dana, api):
        answer = api(dana).post(f"{URL}{step.pk}/approve/", {"hours": "1", "priority": 3}, format="json")
        assert (answer.status_code, answer.json()["status"], answer.json()["priority"]) == (200, "APPROVED", 3)
        assert hours_of(alice.personal_account) == (9 * HOUR, HOUR)

    def test_reject(self, step, alice, dana, api):
        answer = api(dana).post(f"{URL}{step.pk}/reject/", {"reason": "No."}, format="json")
        assert (answer.status_code, answer.json()["status"]) == (200, "REJECTED")
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)

    def test_a_reject_requires_a_reason(self, step, dana, api):
        refused(api(dana).post(f"{URL}{step.pk}/reject/", {}, format="json"), 400, "required", "reason")

    def test_twice_names_who_decided(self, step, dana, root, api):
        api(dana).post(f"{URL}{step.pk}/approve/")
        error = refused(api(root).post(f"{URL}{step.pk}/approve/"), 409, "wrong_state")
        assert dana.email in error["detail"]
        refused(api(root).post(f"{URL}{step.pk}/reject/", {"reason": "No."}, format="json"), 409, "wrong_state")

    def test_the_submitter_may_not(self, step, alice, api):
        refused(api(alice).post(f"{URL}{step.pk}/approve/"), 403, "permission_denied")

    def test_staff_may_not_decide_on_an_own_task(self, dana, api):
        step = a_task(dana).approval_steps.get()
        refused(api(dana).post(f"{URL}{step.pk}/approve/"), 403, "own_task")

    @pytest.mark.parametrize("verb", ["approve", "reject"])
    def test_an_outsider_finds_no_such_step(self, step, charlie, api, verb):
        refused(api(charlie).post(f"{URL}{step.pk}/{verb}/", {"reason": "x"}, format="json"), 404, "not_found")
        refused(api(charlie).get(f"{URL}{step.pk}/"), 404, "not_found")
        assert (Task.objects.get().status, ApprovalStep.objects.get().status) == ("PENDING", "PENDING")

    def test_a_decided_step_can_be_read(self, step, alice, dana, api):
        api(dana).post(f"{URL}{step.pk}/approve/", {"reason": "fine"}, format="json")
        body = api(alice).get(f"{URL}{step.pk}/").json()
        assert (body["status"], body["decided_by"], body["reason"]) == ("APPROVED", dana.email, "fine")
