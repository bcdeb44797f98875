"""How many queries the hot paths take: a number here only ever goes down on purpose."""

from __future__ import annotations

import pytest
from django.db import connection

from gpus.tests.fleet import a_device
from tasks.tests.rig import HOUR, Rig, a_body, a_task, an_approved_task, running_on

pytestmark = [pytest.mark.django_db]

# PostgreSQL is asked for its clock; SQLite's is the process's own.
CLOCK = connection.vendor == "postgresql"
# And holds by one statement there, where SQLite takes a savepoint, the key, UPDATE and INSERT.
SUBMIT = CLOCK - (4 if connection.vendor == "postgresql" else 0)


def test_submit(alice, api, django_assert_num_queries):
    client = api(alice)
    client.post("/api/v1/tasks/", a_body(hours="1"), format="json")
    # Who calls and the account (2), the balance, thresholds, the account kept in place, the hold (savepoints, key,
    # UPDATE, INSERT: 6), task, steps and event, the answer's steps.
    with django_assert_num_queries(16 + SUBMIT):
        assert client.post("/api/v1/tasks/", a_body(hours="1"), format="json").status_code == 201


def test_submit_costs_the_same_however_full_the_house_is(alice, dana, olga, api, django_assert_num_queries):
    Rig(olga.personal_account, *[a_device(index=i) for i in range(4)])
    for _ in range(4):
        an_approved_task(alice, dana, limit_ms=HOUR)
    client = api(alice)
    client.post("/api/v1/tasks/", a_body(hours="1"), format="json")
    with django_assert_num_queries(16 + SUBMIT):
        assert client.post("/api/v1/tasks/", a_body(hours="1"), format="json").status_code == 201


def test_quote(alice, olga, api, django_assert_num_queries):
    Rig(olga.personal_account, *[a_device(index=i) for i in range(4)])
    client = api(alice)
    client.post("/api/v1/tasks/quote/", a_body(), format="json")
    with django_assert_num_queries(7 + CLOCK):
        assert client.post("/api/v1/tasks/quote/", a_body(), format="json").status_code == 200


@pytest.mark.parametrize("tasks", [1, 8])
def test_list(alice, api, django_assert_num_queries, tasks):
    for _ in range(tasks):
        a_task(alice, limit_ms=HOUR)
    client = api(alice)
    client.get("/api/v1/tasks/")
    # Who calls, what they may (2), the page.
    with django_assert_num_queries(4):
        assert len(client.get("/api/v1/tasks/").json()["results"]) == tasks


def test_retrieve(alice, dana, api, django_assert_num_queries):
    task = an_approved_task(alice, dana)
    client = api(alice)
    # Who calls, what they may (2), the task, its steps and who decided them (2), its place in the queue.
    with django_assert_num_queries(7):
        assert client.get(f"/api/v1/tasks/{task.pk}/").status_code == 200


def test_approve(alice, dana, api, django_assert_num_queries):
    client = api(dana)
    first, second = a_task(alice, limit_ms=HOUR), a_task(alice, limit_ms=HOUR)
    client.post(f"/api/v1/tasks/{first.pk}/approve/")
    with django_assert_num_queries(21 + CLOCK):
        assert client.post(f"/api/v1/tasks/{second.pk}/approve/").status_code == 200


@pytest.mark.parametrize("attempts", [1, 4])
def test_attempts(alice, dana, olga, api, django_assert_num_queries, attempts):
    rig = Rig(olga.personal_account)
    task = an_approved_task(alice, dana)
    for _ in range(attempts):
        rig.finish(running_on(rig), "FAILED", fault="host", code="disk")
    client = api(alice)
    # Who calls, what they may (2), the task, its attempts with their hosts, links and GPUs (2).
    with django_assert_num_queries(7):
        assert len(client.get(f"/api/v1/tasks/{task.pk}/attempts/").json()["results"]) == attempts
