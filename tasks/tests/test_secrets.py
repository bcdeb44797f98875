"""Secrets of a task: given to its program, shown to nobody."""

from __future__ import annotations

import pytest
from django.db import connection

from tasks import services
from tasks.models import Attempt, Task
from tasks.tests.rig import HOUR, Rig, a_body, a_task, an_approved_task, hours_of, offered_to, refused, running_on

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

TOKEN = "hunter2-hunter2"


@pytest.fixture
def rig(olga):
    return Rig(olga.personal_account)


class TestSubmit:
    def test_it_keeps_them_sealed_and_shows_their_names(self, api, alice):
        answer = api(alice).post("/api/v1/tasks/", a_body(secrets={"TOKEN": TOKEN}, env={"A": "b"}), format="json")

        assert answer.status_code == 201, answer.content
        assert (answer.json()["secret_names"], answer.json()["env_names"]) == (["TOKEN"], ["A"])
        task = Task.objects.get()
        assert task.open_secrets() == {"TOKEN": TOKEN}
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM tasks_task")
            assert TOKEN not in str(cursor.fetchall())

    def test_no_answer_and_no_page_shows_them(self, api, alice, dana, client):
        created = api(alice).post("/api/v1/tasks/", a_body(secrets={"TOKEN": TOKEN}), format="json")
        task = Task.objects.get()
        seen = [created.content.decode()]
        for path in ("", f"{task.pk}/", f"{task.pk}/events/", f"{task.pk}/attempts/"):
            answer = api(alice).get(f"/api/v1/tasks/{path}")
            assert answer.status_code == 200
            seen.append(answer.content.decode())
        client.force_login(dana)
        page = client.get(f"/admin/tasks/task/{task.pk}/change/")
        assert "TOKEN (secret)" in page.content.decode()
        seen.append(page.content.decode())
        quoted = api(alice).post("/api/v1/tasks/quote/", a_body(secrets={"TOKEN": TOKEN}), format="json")
        assert quoted.status_code == 200
        seen.append(quoted.content.decode())
        assert not any(TOKEN in text or task.secrets.token in text for text in seen)

    @pytest.mark.parametrize(
        ("secrets", "attr"),
        [
            ({"TOKEN": "short"}, "secrets.TOKEN"),
            ({"TOKEN": "         "}, "secrets.TOKEN"),
            ({"TOKEN": ""}, "secrets.TOKEN"),
            ({"GAAS_X": TOKEN}, "secrets.GAAS_X"),
            ({"A B": TOKEN}, "secrets.A B"),
            ({"TOKEN": 12345678}, "secrets.TOKEN"),
            ({"A": TOKEN}, "secrets.A"),
            (["TOKEN"], "secrets"),
            ({"B": "x" * 33_000}, "secrets.B"),
        ],
        ids=["short", "blank", "empty", "reserved", "name", "number", "twice", "list", "long"],
    )
    def test_it_names_what_is_wrong_and_repeats_no_value(self, api, alice, secrets, attr):
        answer = api(alice).post("/api/v1/tasks/", a_body(secrets=secrets, env={"A": "b"}), format="json")
        refused(answer, 400, attr=attr)
        assert TOKEN not in answer.content.decode()


class TestGive:
    def test_the_host_gets_them_until_it_has_started_the_program(self, rig, alice, dana):
        an_approved_task(alice, dana, secrets={"TOKEN": TOKEN})
        offer = offered_to(rig)
        assert offer["secrets"] == {"TOKEN": TOKEN}
        assert rig.sync()["attempts"][0]["secrets"] == {"TOKEN": TOKEN}
        rig.start(offer)
        assert rig.sync()["attempts"][0]["secrets"] == {}

    def test_a_task_whose_secrets_cannot_be_read_ends_and_costs_nothing(self, rig, alice, dana, settings):
        task = an_approved_task(alice, dana, secrets={"TOKEN": TOKEN})
        services.schedule()
        settings.SECRET_KEY = "changed"

        assert rig.sync()["attempts"] == []

        task.refresh_from_db()
        assert (task.status, task.failure_code, task.failure_fault) == ("FAILED", "secrets_unreadable", "platform")
        assert (Attempt.objects.get().status, task.gpu_ms) == ("REFUSED", 0)
        assert hours_of(alice.personal_account) == (10 * HOUR, 0)

    def test_one_that_runs_goes_on_under_another_key(self, rig, alice, dana, settings):
        an_approved_task(alice, dana, secrets={"TOKEN": TOKEN})
        offer = running_on(rig)
        settings.SECRET_KEY = "changed"
        assert [a["id"] for a in rig.sync()["attempts"]] == [offer["id"]]
        assert rig.finish(offer)["task_status"] == "COMPLETED"


class TestRetry:
    def test_the_new_task_has_them_too(self, api, alice):
        task = a_task(alice, secrets={"TOKEN": TOKEN})
        api(alice).post(f"/api/v1/tasks/{task.pk}/cancel/", {})
        answer = api(alice).post(f"/api/v1/tasks/{task.pk}/retry/", {})
        assert answer.status_code == 201, answer.content
        assert Task.objects.get(pk=answer.json()["id"]).open_secrets() == {"TOKEN": TOKEN}

    def test_it_says_when_they_cannot_be_read(self, api, alice, settings):
        task = a_task(alice, secrets={"TOKEN": TOKEN})
        client = api(alice)
        client.post(f"/api/v1/tasks/{task.pk}/cancel/", {})
        # A log-in is signed with the key too, so the damage is done to the row.
        Task.objects.filter(pk=task.pk).update(secrets=type(task.secrets)("damaged", "task"))
        refused(client.post(f"/api/v1/tasks/{task.pk}/retry/", {}), 409, "secrets_unreadable", "secrets")
