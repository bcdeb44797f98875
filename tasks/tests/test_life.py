"""The life of a task over HTTP, from submit to a charged result."""

from __future__ import annotations

import pytest

from accounts.ledger.models import Transfer
from gaas.lib import clock
from payments.models import Charge
from tasks import services
from tasks.models import Task
from tasks.tests.rig import Rig, a_body

pytestmark = pytest.mark.django_db


def test_a_task_runs_and_is_charged_what_was_metered(alice, dana, olga, api):
    rig = Rig(olga.personal_account)
    customer, staff = api(alice), api(dana)

    quote = customer.post("/api/v1/tasks/quote/", a_body(), format="json").json()
    assert (quote["hours_held"], quote["left"], quote["gpus_free"]) == ("2.000000", "8.000000", 1)
    answer = customer.post("/api/v1/tasks/", a_body(), format="json")
    assert answer.status_code == 201, answer.content
    task_id = answer.json()["id"]
    account = customer.get(f"/api/v1/accounts/{alice.personal_account.pk}/").json()
    assert (account["hours_available"], account["hours_held"]) == ("8.000000", "2.000000")

    assert staff.post(f"/api/v1/tasks/{task_id}/approve/").json()["status"] == "APPROVED"
    services.schedule()
    offer = rig.take()
    assert rig.start(offer)["limit_ms"] == 7_200_000
    rig.log(offer, b"one\ntwo\n", 0)
    Task.objects.get(pk=task_id).attempts.update(started_at=clock.now().replace(year=2025))
    rig.finish(offer, elapsed_ms=5_000, log_size=8, result={"sum": 55})

    body = customer.get(f"/api/v1/tasks/{task_id}/").json()
    assert (body["status"], body["exit_code"], body["result"]) == ("COMPLETED", 0, {"sum": 55})
    assert body["gpu_ms"] == 5_000
    log = customer.get(f"/api/v1/tasks/{task_id}/logs/")
    assert (log.content, log["X-Log-Next-Offset"]) == (b"one\ntwo\n", "8")
    account = customer.get(f"/api/v1/accounts/{alice.personal_account.pk}/").json()
    assert (account["hours_available"], account["hours_held"]) == ("9.998611", "0.000000")
    assert Charge.objects.get().gpu_ms == 5_000
    assert Transfer.objects.get(kind="usage").amount == 5_000
