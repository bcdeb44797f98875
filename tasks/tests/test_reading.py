"""Who reads what an account keeps: its members; of staff who may, and that is noted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client

from gaas.audit.models import AuditEvent
from gaas.groups import GROUPS
from gaas.lib import clock
from gaas.tests.cast import make_user
from tasks.models import Artifact, Task
from tasks.services.reading import read_log_of
from tasks.tests.rig import Rig, a_body, an_approved_task, left, refused, running_on
from tasks.tests.test_uploads import UPLOADS, an_upload

pytestmark = pytest.mark.django_db

DATA = b"weights " * 1000


@pytest.fixture
def task(alice: Any, dana: Any, olga: Any) -> Task:
    """One of Alice's that has ended, with a log and a result."""
    task, rig = an_approved_task(alice, dana), Rig(olga.personal_account)
    offer = running_on(rig)
    rig.log(offer, b"secret\n", 0)
    rig.put(offer, "weights.bin", DATA)
    rig.finish(offer, artifacts=[left("weights.bin", DATA)])
    return task


@pytest.fixture
def upload(alice: Any, api: Any) -> str:
    return an_upload(api(alice))


@pytest.fixture
def files(task: Task, upload: str) -> list[str]:
    of_task = f"/api/v1/tasks/{task.pk}/artifacts/"
    return [f"{UPLOADS}{upload}/content/", f"{of_task}{Artifact.objects.get().pk}/content/", f"{of_task}archive/"]


def staff_of(group: str) -> Any:
    user = make_user(group, is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    return user


def noted() -> list[tuple[str, str, Any]]:
    events = AuditEvent.objects.filter(action__in=["file.read", "log.read"]).order_by("id")
    return list(events.values_list("action", "object_type", "actor"))


class TestFiles:
    def test_members_read_them_and_nobody_notes_it(self, files: list[str], alice: Any, api: Any) -> None:
        for path in files:
            assert b"".join(api(alice).get(path))
        assert noted() == []

    @pytest.mark.parametrize("group", sorted(GROUPS))
    def test_no_group_of_staff_reads_them(self, files: list[str], api: Any, group: str) -> None:
        client = api(staff_of(group))
        assert {client.get(path).status_code for path in files} <= {403, 404}
        assert noted() == []

    def test_who_sees_them_is_told_why_not(self, files: list[str], api: Any) -> None:
        client = api(staff_of("Support"))
        for path in files:
            assert "members of their account" in refused(client.get(path), 403, "permission_denied")["detail"]

    @pytest.mark.parametrize("is_superuser", [True, False])
    def test_who_may_is_noted_once_a_day(self, files: list[str], api: Any, is_superuser: bool) -> None:
        reader = make_user("Reader", is_staff=True, is_superuser=is_superuser)
        may = ("view_upload", "view_task", "read_storedfile")
        reader.user_permissions.set(Permission.objects.filter(content_type__app_label="tasks", codename__in=may))
        for path in [*files, *files]:
            assert b"".join(api(reader).get(path))
        kinds = ("tasks.upload", "tasks.artifact", "tasks.task")
        assert noted() == [("file.read", kind, reader.pk) for kind in kinds]

    @pytest.mark.parametrize("who", ["Support", "Auditors", "root"])
    def test_nobody_reads_them_by_a_task_of_their_own(
        self, task: Task, upload: str, alice: Any, root: Any, api: Any, who: str
    ) -> None:
        given = ({"upload": upload}, {"task": str(task.pk), "artifact": "weights.bin"})
        for entry in given:
            assert api(alice).post("/api/v1/tasks/quote/", a_body(inputs=[entry]), format="json").status_code == 200
        client = api(root if who == "root" else staff_of(who))
        for entry in given:
            refused(client.post("/api/v1/tasks/quote/", a_body(inputs=[entry]), format="json"), 400, "does_not_exist")


class TestLogs:
    def paths(self, task: Task) -> list[str]:
        return [f"/api/v1/tasks/{task.pk}/logs/", f"/api/v1/tasks/{task.pk}/logs/stream/"]

    def test_members_read_them_and_nobody_notes_it(self, task: Task, alice: Any, api: Any, client: Client) -> None:
        client.force_login(alice)
        for path in self.paths(task):
            assert api(alice).get(path).status_code == 200
        assert client.get(f"/tasks/{task.pk}/").status_code == 200
        assert noted() == []

    @pytest.mark.parametrize("way", ["api", "stream", "page", "admin"])
    def test_staff_who_see_the_task_read_them_and_it_is_noted(
        self, task: Task, api: Any, client: Client, way: str
    ) -> None:
        reader = staff_of("Auditors")
        client.force_login(reader)
        calls = {
            "api": lambda: api(reader).get(self.paths(task)[0]),
            "stream": lambda: api(reader).get(self.paths(task)[1]),
            "page": lambda: client.get(f"/tasks/{task.pk}/"),
            "admin": lambda: client.get(f"/admin/tasks/task/{task.pk}/change/"),
        }
        for _ in range(2):
            assert calls[way]().status_code == 200
        assert noted() == [("log.read", "tasks.task", reader.pk)]

    def test_it_is_noted_again_the_next_day(self, task: Task) -> None:
        reader, now = staff_of("Approvers"), clock.now()
        for hours in (0, 23, 25, 26):
            read_log_of(task, by=reader, now=now + timedelta(hours=hours))
        assert len(noted()) == 2
