"""Forty submits at one moment against hours for ten, over HTTP's own code path, on either engine."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from accounts.ledger import check
from accounts.ledger.models import Hold
from accounts.services import balances_of
from accounts.services.tokens import open_log_in
from tasks.models import ApprovalStep, Task, TaskEvent


@pytest.mark.django_db(transaction=True)
def test_exactly_ten_are_taken(alice: Any) -> None:
    token = open_log_in(user=alice).access
    gate, answers = threading.Barrier(40), []

    def submit() -> None:
        client = APIClient(HTTP_AUTHORIZATION=f"Bearer {token}", SERVER_NAME="localhost")
        gate.wait(60)
        body = {"title": "t", "spec": {"command": ["true"]}, "hours": "1"}
        try:
            answer = client.post("/api/v1/tasks/", body, format="json")
            answers.append((answer.status_code, answer.json().get("errors", [{}])[0].get("code")))
        except Exception as error:
            answers.append((500, repr(error)))
        finally:
            connection.close()

    threads = [threading.Thread(target=submit) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers, key=str) == [(201, None)] * 10 + [(400, "insufficient_quota")] * 30
    assert [model.objects.count() for model in (Task, Hold, ApprovalStep, TaskEvent)] == [10, 10, 10, 10]
    balances = balances_of(alice.personal_account)
    assert [balances.hours_available, balances.hours_held] == [0, 36_000_000]
    assert [problem for result in check.run() for problem in result.problems] == []
