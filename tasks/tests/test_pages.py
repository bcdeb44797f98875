"""Pages on which people watch their tasks."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from tasks.models import Task
from tasks.tests.rig import Rig, a_task, an_approved_task, running_on

pytestmark = pytest.mark.django_db


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def task(alice: User, dana: User) -> Task:
    return an_approved_task(alice, dana)


class TestTaskPage:
    def test_it_shows_the_log_and_where_to_go_on(self, alice: User, olga: User, task: Task) -> None:
        rig = Rig(olga.personal_account)
        offer = running_on(rig)
        rig.log(offer, b"<b>bold</b> \xff", 0)
        text = browser(alice).get(f"/tasks/{task.pk}/").content.decode()
        assert "&lt;b&gt;bold&lt;/b&gt; �" in text
        assert f'data-live-task="/api/v1/tasks/{task.pk}/"' in text
        assert str(task.events.order_by("-id").first().pk) in text
        assert "data-live-over" not in text
        assert "<script>" not in text

    def test_a_hostile_log_is_text(self, alice: User, olga: User, task: Task) -> None:
        rig = Rig(olga.personal_account)
        rig.log(running_on(rig), b"\x1b[31m</pre><img src=x onerror=alert(1)>\r\nSet-Cookie: a=b\r\n\r\n<p>", 0)
        answer = browser(alice).get(f"/tasks/{task.pk}/")
        text = answer.content.decode()
        assert "&lt;/pre&gt;&lt;img src=x onerror=alert(1)&gt;" in text
        assert "<img src=x" not in text
        assert "a" not in answer.cookies
        assert answer["X-Content-Type-Options"] == "nosniff"

    def test_it_shows_what_came_of_it(self, alice: User, olga: User, task: Task) -> None:
        rig = Rig(olga.personal_account)
        rig.finish(running_on(rig), "FAILED")
        text = browser(alice).get(f"/tasks/{task.pk}/").content.decode()
        assert "exit_code" in text
        assert "GPU-hours" in text
        assert "data-live-over" in text

    def test_others_find_none(self, charlie: User, task: Task) -> None:
        assert browser(charlie).get(f"/tasks/{task.pk}/").status_code == 404

    def test_nobody_is_asked_to_log_in(self, task: Task) -> None:
        for path in ("/tasks/", f"/tasks/{task.pk}/"):
            assert Client().get(path).status_code == 302

    def test_it_costs_few_queries(self, alice: User, task: Task, django_assert_max_num_queries: Any) -> None:
        client = browser(alice)
        with django_assert_max_num_queries(12):
            client.get(f"/tasks/{task.pk}/")


class TestTasksPage:
    def test_it_lists_what_one_sees(self, alice: User, charlie: User, task: Task) -> None:
        a_task(charlie, title="Not hers")
        text = browser(alice).get("/tasks/").content.decode()
        assert f"/tasks/{task.pk}/" in text
        assert "Not hers" not in text
