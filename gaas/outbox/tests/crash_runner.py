"""Kill a server after each statement of a POST with a key, then send the POST again.

Run by test_idempotency.py as a process of its own, so that it may fork: the database is that of DATABASE_URL,
migrated before. Prints one JSON object: how many places it was killed at, how often the retry met the lock of
the dead, and what was wrong.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

import django

django.setup()

from django.db import connection, connections  # noqa: E402
from django.test.utils import setup_test_environment  # noqa: E402
from django.utils import timezone  # noqa: E402
from rest_framework.test import APIClient  # noqa: E402

from accounts.ledger.tests.crash_runner import DONE, KILLED, Killer  # noqa: E402
from accounts.models import QuotaRequest, User  # noqa: E402
from accounts.services import balances_of, request_quota  # noqa: E402
from accounts.services.tokens import open_log_in  # noqa: E402
from gaas.outbox.models import IdempotencyKey  # noqa: E402

HOUR = 3_600_000


def send(client: APIClient, asked: QuotaRequest, key: str) -> Any:
    url = f"/api/v1/quota-requests/{asked.pk}/approve/"
    return client.post(url, {"reason": "Fine"}, format="json", headers={"Idempotency-Key": key})


def send_and_die(client: APIClient, asked: QuotaRequest, key: str, after: int) -> int:
    """Send it in a child that dies after so many statements; DONE when it had fewer."""
    connections.close_all()
    child = os.fork()
    if child == 0:
        with connection.execute_wrapper(Killer(after)):
            send(client, asked, key)
        os._exit(DONE)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    setup_test_environment()
    staff = User.objects.create(email="staff@example.test", is_staff=True, is_superuser=True)
    user = User.objects.create(email="customer@example.test")
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {open_log_in(user=staff).access}")
    before = balances_of(user.personal_account).hours_available
    wrong: list[str] = []
    after, waited, status = 0, 0, KILLED
    while status != DONE:
        asked = request_quota(account=user.personal_account, gpu_ms=HOUR, by=user, reason="x")
        key = f"key-{after}"
        status = send_and_die(client, asked, key, after)
        if status not in (KILLED, DONE):
            wrong.append(f"the child ended with {status}")
            break
        answer = send(client, asked, key)
        if answer.status_code == 409:
            waited += 1
            codes = [error["code"] for error in answer.json()["errors"]]
            if codes != ["idempotency_in_progress"]:
                wrong.append(f"killed after {after}: the retry was refused by {codes}")
            IdempotencyKey.objects.filter(key=key).update(locked_until=timezone.now() - timedelta(seconds=1))
            answer = send(client, asked, key)
        if answer.status_code != 200 or answer.json()["status"] != "APPROVED":
            wrong.append(f"killed after {after}: the retry was answered {answer.status_code} {answer.content!r}")
        if send(client, asked, key).content != answer.content:
            wrong.append(f"killed after {after}: the next retry had another answer")
        after += 1
        if balances_of(user.personal_account).hours_available != before + after * HOUR:
            wrong.append(f"killed after {after - 1}: the hours are wrong")
            break
    print(json.dumps({"killed": after - 1, "waited": waited, "wrong": wrong}))


if __name__ == "__main__":
    main()
