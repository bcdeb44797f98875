"""Who sees a task at all: for everybody else none of its routes exists."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission

from accounts.choices import Role
from accounts.models import Membership
from tasks.models import Task
from tasks.tests.rig import HOUR, Rig, a_task, an_approved_task, refused, running_on

pytestmark = [pytest.mark.django_db]

ROUTES = [
    ("get", ""),
    ("get", "events/"),
    ("get", "attempts/"),
    ("get", "logs/"),
    ("post", "approve/"),
    ("post", "reject/"),
    ("post", "cancel/"),
    ("post", "complete/"),
    ("post", "retry/"),
]


@pytest.fixture
def task(alice, dana, olga):
    task = an_approved_task(alice, dana)
    rig = Rig(olga.personal_account)
    rig.log(running_on(rig), b"secret\n", 0)
    return task


class TestOutsiders:
    @pytest.mark.parametrize(("method", "route"), ROUTES)
    @pytest.mark.parametrize("who", ["charlie", "bob", "olga"])
    def test_they_find_nothing(self, request, task, api, who, method, route):
        client = api(request.getfixturevalue(who))
        body = {"reason": "x"} if route in ("reject/", "complete/") else {}
        there = getattr(client, method)(f"/api/v1/tasks/{task.pk}/{route}", body, format="json")
        nowhere = getattr(client, method)(f"/api/v1/tasks/{uuid4()}/{route}", body, format="json")

        assert refused(there, 404, "not_found") == refused(nowhere, 404, "not_found")
        assert Task.objects.get().status == "PROCESSING"

    @pytest.mark.parametrize(("method", "route"), ROUTES)
    def test_nobody_is_asked_to_log_in(self, task, api, method, route):
        refused(getattr(api(), method)(f"/api/v1/tasks/{task.pk}/{route}"), 401, "not_authenticated")

    @pytest.mark.parametrize("name", ["x", "1", "00000000-0000-0000-0000-00000000000g", "%00"])
    def test_a_name_that_is_no_id_is_nothing(self, alice, api, name):
        assert api(alice).get(f"/api/v1/tasks/{name}/").status_code in (400, 404)

    def test_lists_leave_it_out(self, task, charlie, api):
        assert api(charlie).get("/api/v1/tasks/").json()["results"] == []
        query = {"account": str(task.account_id)}
        assert api(charlie).get("/api/v1/tasks/", query).json()["results"] == []


class TestInsiders:
    @pytest.mark.parametrize("role", list(Role))
    def test_every_member_of_the_account_sees_it(self, alice, bob, charlie, dana, lab, api, role):
        from accounts.services import grant_hours

        grant_hours(account=lab, gpu_ms=5 * HOUR, by=dana, reason="start", key="grant:lab")
        Membership.objects.create(account=lab, user=charlie, role=role)
        task = a_task(alice, account=lab)

        client = api(charlie)
        for route in ("", "events/", "attempts/", "logs/"):
            assert client.get(f"/api/v1/tasks/{task.pk}/{route}").status_code == 200

    def test_a_manager_sees_tasks_of_accounts_below(self, charlie, pat, dana, family, child, api):
        from accounts.services import grant_hours

        grant_hours(account=family, gpu_ms=5 * HOUR, by=dana, reason="start", key="grant:family")
        task = a_task(charlie, account=child)
        assert api(pat).get(f"/api/v1/tasks/{task.pk}/").status_code == 200

    def test_staff_with_the_permission_sees_all(self, task, dana, api):
        client = api(dana)
        assert len(client.get("/api/v1/tasks/").json()["results"]) == 1
        assert client.get(f"/api/v1/tasks/{task.pk}/logs/").content == b"secret\n"

    @pytest.mark.parametrize("may", ["view_task", "approve_task", "operate_task"])
    def test_who_is_to_decide_sees_what(self, task, charlie, api, may):
        charlie.user_permissions.add(Permission.objects.get(content_type__app_label="tasks", codename=may))
        assert api(charlie).get(f"/api/v1/tasks/{task.pk}/").status_code == 200

    @pytest.mark.parametrize("method", ["put", "patch", "delete"])
    def test_nobody_writes_over_or_deletes_a_task(self, task, alice, api, method):
        refused(getattr(api(alice), method)(f"/api/v1/tasks/{task.pk}/", {"status": "COMPLETED"}, format="json"), 405)
