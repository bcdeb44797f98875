"""Forty submits at one moment against hours for ten, over HTTP's own code path, on either engine."""

from __future__ import annotations

import json

from tests.scratch import Run, run  # noqa: F401  a fixture


def test_exactly_ten_are_taken(run: Run) -> None:  # noqa: F811
    told = run(
        """
import json, threading
from django.core.management import call_command
from django.db import connection
from rest_framework.test import APIClient
call_command("migrate", verbosity=0)
from accounts.ledger import check
from accounts.models import User
from accounts.services import balances_of
from accounts.services.tokens import open_log_in
from tasks.models import ApprovalStep, Task, TaskEvent
from accounts.ledger.models import Hold

alice = User.objects.create_user("alice@example.test")
token = open_log_in(user=alice).access
gate, answers = threading.Barrier(40), []

def submit():
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {token}", SERVER_NAME="localhost")
    gate.wait(60)
    body = {"title": "t", "spec": {"command": ["true"]}, "hours": "1"}
    try:
        answer = client.post("/api/v1/tasks/", body, format="json")
        answers.append([answer.status_code, answer.json().get("errors", [{}])[0].get("code")])
    except Exception as error:
        answers.append([500, repr(error)])
    finally:
        connection.close()

threads = [threading.Thread(target=submit) for _ in range(40)]
for thread in threads: thread.start()
for thread in threads: thread.join()
balances = balances_of(alice.personal_account)
print(json.dumps({
    "answers": answers,
    "stored": [model.objects.count() for model in (Task, Hold, ApprovalStep, TaskEvent)],
    "hours": [balances.hours_available, balances.hours_held],
    "problems": [problem for result in check.run() for problem in result.problems],
}))
"""
    )
    found = json.loads(told.splitlines()[-1])
    assert sorted(map(tuple, found["answers"]), key=str) == [(201, None)] * 10 + [(400, "insufficient_quota")] * 30
    assert found["stored"] == [10, 10, 10, 10]
    assert found["hours"] == [0, 36_000_000]
    assert found["problems"] == []
