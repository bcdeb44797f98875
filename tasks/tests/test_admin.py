"""The workbench of staff: lists, pages and the verbs behind their buttons."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from gaas.lib import clock
from payments.models import Charge
from tasks import services
from tasks.choices import TaskStatus
from tasks.models import ApprovalStep, Attempt, Task
from tasks.tests.rig import HOUR, Rig, a_task, an_approved_task, hours_of, offered_to, running_on

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

LIST = "admin:tasks_task_changelist"


@pytest.fixture
def staff(client: Any, dana: Any) -> Any:
    client.force_login(dana)
    return client


@pytest.fixture
def rig(olga: Any) -> Rig:
    return Rig(olga.personal_account)


def choose(client: Any, action: str, *tasks: Task, **fields: Any) -> Any:
    """Choose an action on the list; with fields, answer its form too."""
    data = {"action": action, "_selected_action": [str(task.pk) for task in tasks], **fields}
    return client.post(reverse(LIST), {**data, **({"post": "yes"} if fields else {})}, follow=True)


def press(client: Any, task: Task, action: str, **fields: Any) -> Any:
    """Press a button of a task's page; with fields, answer its form."""
    url = reverse(f"admin:tasks_task_{action}", args=[task.pk])
    return client.post(url, fields, follow=True) if fields else client.get(url)


def text_of(answer: Any) -> str:
    return re.sub(r"\s+", " ", answer.content.decode())


def told(answer: Any) -> str:
    return " ".join(str(message) for message in answer.context["messages"])


def page(client: Any, task: Task) -> str:
    return text_of(client.get(reverse("admin:tasks_task_change", args=[task.pk])))


class TestList:
    def test_it_approves_what_waits_and_says_what_it_skipped(self, staff, alice, dana):
        waiting = [a_task(alice, limit_ms=HOUR) for _ in range(2)]
        decided = an_approved_task(alice, dana, limit_ms=HOUR)

        answer = choose(staff, "approve", *waiting, decided)

        assert "2 approved, 1 skipped: This task is not waiting for approval" in told(answer)
        assert set(Task.objects.values_list("status", flat=True)) == {TaskStatus.APPROVED}

    def test_it_rejects_with_a_reason_alone(self, staff, alice):
        task = a_task(alice)

        assert "reason" in text_of(choose(staff, "reject", task))
        choose(staff, "reject", task, reason=" ")
        task.refresh_from_db()
        assert task.status == TaskStatus.PENDING

        assert "1 rejected" in told(choose(staff, "reject", task, reason="The budget of May is spent."))
        task.refresh_from_db()
        assert task.status == TaskStatus.REJECTED
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)
        assert "The budget of May is spent." in page(staff, task)

    def test_it_cancels(self, staff, alice):
        task = a_task(alice)
        assert "1 cancelled or being cancelled" in told(choose(staff, "cancel", task, reason=""))
        task.refresh_from_db()
        assert task.status == TaskStatus.CANCELLED

    def test_it_takes_the_same_number_of_queries_at_any_length(self, staff, alice):
        counts = []
        for _ in range(2):
            a_task(alice, limit_ms=HOUR)
            with CaptureQueriesContext(connection) as queries:
                assert staff.get(reverse(LIST)).status_code == 200
            counts.append(len(queries))
        assert counts[0] == counts[1]
        assert counts[0] <= 12

    def test_it_says_why_a_task_waits(self, staff, alice, dana):
        an_approved_task(alice, dana, gpus=4)
        services.schedule()
        text = text_of(staff.get(reverse(LIST)))
        assert Task.objects.get().waiting["detail"] in text
        assert "Waiting for GPUs" in text

    @pytest.mark.parametrize("query", ["q=Count", "q=alice", "status__exact=PENDING", "o=1", "q=%27%22%3C"])
    def test_searches_and_filters_open(self, staff, alice, query):
        a_task(alice)
        assert staff.get(f"{reverse(LIST)}?{query}").status_code == 200


class TestPage:
    def test_it_approves_fewer_hours_with_another_priority(self, staff, alice):
        task = a_task(alice)
        assert "1 approved" in told(press(staff, task, "approve_with", hours="0.5", priority="7", reason="Try first."))
        task.refresh_from_db()
        assert (task.status, task.limit_ms, task.priority) == (TaskStatus.APPROVED, HOUR // 2, 7)
        assert hours_of(alice.personal_account) == (19 * HOUR // 2, HOUR // 2)

    @pytest.mark.parametrize("hours", ["two", "1_0", "-1", "0", "3", "1e1"])
    def test_it_takes_no_other_hours(self, staff, alice, hours):
        task = a_task(alice)
        assert press(staff, task, "approve_with", hours=hours, priority="", reason="").status_code == 200
        task.refresh_from_db()
        assert (task.status, task.limit_ms) == (TaskStatus.PENDING, 2 * HOUR)
        assert hours_of(alice.personal_account) == (8 * HOUR, 2 * HOUR)

    def test_it_completes_a_running_one(self, staff, alice, dana, rig):
        task = an_approved_task(alice, dana)
        offer = running_on(rig)
        assert "1 being completed" in told(press(staff, task, "complete", reason="Enough."))
        rig.finish(offer, "CANCELLED", exit_code=143)
        task.refresh_from_db()
        assert task.status == TaskStatus.COMPLETED

    def test_it_shows_what_came_of_it_as_text(self, staff, alice, dana, rig):
        task = an_approved_task(alice, dana)
        offer = running_on(rig)
        written = b"\x1b[31m<img src=x onerror=alert(1)></pre>\xff\n"
        rig.log(offer, written, 0)
        rig.finish(offer, log_size=len(written), result={"loss": "<b>"})
        text = page(staff, task)
        assert "&lt;img src=x onerror=alert(1)&gt;&lt;/pre&gt;" in text
        assert "&lt;b&gt;" in text
        assert "<img src=x" not in text

    def test_it_never_shows_values_of_the_environment(self, staff, alice):
        text = page(staff, a_task(alice, env={"TOKEN": "s3cret-value"}))
        assert "TOKEN" in text
        assert "s3cret-value" not in text

    def test_pages_of_what_belongs_to_it_open(self, staff, root, client, alice, dana, rig):
        an_approved_task(alice, dana)
        rig.finish(running_on(rig))
        client.force_login(root)
        for model in (Attempt, ApprovalStep, Charge):
            name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
            assert client.get(reverse(f"{name}_changelist")).status_code == 200
            for row in model.objects.all():
                assert client.get(reverse(f"{name}_change", args=[row.pk])).status_code == 200

    def test_it_says_that_a_task_is_cancelling(self, staff, alice, dana, rig):
        task = an_approved_task(alice, dana)
        offered_to(rig)
        services.cancel(Task.objects.get(pk=task.pk), by=dana, now=clock.now())
        assert "its host ends the program" in page(staff, task)
        assert "Cancelling" in text_of(staff.get(reverse(LIST)))


class TestWhoMay:
    def test_only_whom_it_is_given_to_approves(self, client, alice, bob):
        task = a_task(alice)
        bob.is_staff = True
        bob.save()
        bob.user_permissions.add(Permission.objects.get(content_type__app_label="tasks", codename="view_task"))
        client.force_login(bob)

        choose(client, "approve", task)
        assert press(client, task, "approve_with", hours="", priority="", reason="").status_code == 403
        task.refresh_from_db()
        assert task.status == TaskStatus.PENDING

    def test_nobody_approves_an_own_one(self, staff, dana):
        task = a_task(dana)
        assert "a task of their own" in told(choose(staff, "approve", task))
        task.refresh_from_db()
        assert task.status == TaskStatus.PENDING

    def test_customers_do_not_get_in(self, client, alice):
        client.force_login(alice)
        assert client.get(reverse(LIST)).status_code in (302, 403)
