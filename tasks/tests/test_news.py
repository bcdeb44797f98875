"""What webhooks hear of tasks, payments, budgets and hosts."""

from __future__ import annotations

import json

import pytest

from accounts.choices import CapPeriod, Role
from accounts.models import Account, Membership
from accounts.services import fund, grant_hours, set_cap
from accounts.services.budgets import alert_budgets
from accounts.services.low_marks import warn_low
from gaas.lib import clock
from gaas.outbox.choices import EventType
from gaas.outbox.models import WebhookDelivery
from gaas.outbox.tests.hooks import a_webhook
from gpus.services.owners import tell_owners
from gpus.troubles import two_agents
from payments import services as payments
from tasks import services
from tasks.choices import TaskStatus
from tasks.models import Task
from tasks.news import event_of
from tasks.services.sweep import expire
from tasks.tests.rig import HOUR, Rig, a_draft, has_run_for, offered_to, running_on

pytestmark = pytest.mark.django_db

SECRET = "hunter2"


@pytest.fixture
def account(alice):
    """Give Alice's account, which hears of everything."""
    a_webhook(alice.personal_account, events=EventType.values)
    alice.refresh_from_db()
    return alice.personal_account


def submitted(alice, account, **more):
    draft = a_draft(account=account, limit_ms=HOUR, env={"PLAIN": SECRET}, secrets={"KEY": SECRET}, **more)
    return services.submit(draft, by=alice, now=clock.now())


def heard():
    rows = WebhookDelivery.objects.order_by("pk")
    return [(row.event, json.loads(row.body)["data"]) for row in rows]


def names():
    return [event for event, _ in heard()]


class TestTasks:
    def test_a_whole_life_is_told_with_the_bill_and_without_secrets(self, alice, dana, olga, account):
        rig = Rig(olga.personal_account)
        task = submitted(alice, account)
        services.approve(task, by=dana, now=clock.now())
        offer = running_on(rig)
        has_run_for(offer, 60)
        rig.finish(offer, "SUCCEEDED")
        assert names() == ["task.submitted", "task.approved", "task.started", "task.completed"]
        task.refresh_from_db()
        last = heard()[-1][1]
        assert last["id"] == str(task.pk)
        assert last["status"] == "COMPLETED"
        assert last["gpu_ms"] == task.gpu_ms > 0
        assert last["exit_code"] == 0
        assert SECRET not in "".join(WebhookDelivery.objects.values_list("body", flat=True))

    def test_a_failure_says_why(self, alice, dana, olga, account):
        rig = Rig(olga.personal_account)
        services.approve(submitted(alice, account), by=dana, now=clock.now())
        rig.finish(running_on(rig), "FAILED", fault="user", code="exit_code", exit_code=3)
        event, data = heard()[-1]
        assert event == "task.failed"
        assert (data["failure"]["code"], data["failure"]["fault"], data["exit_code"]) == ("exit_code", "user", 3)

    def test_a_lost_host_is_told_and_a_refused_offer_is_not(self, alice, dana, olga, account):
        rig = Rig(olga.personal_account)
        services.approve(submitted(alice, account, retries=3), by=dana, now=clock.now())
        rig.finish(offered_to(rig), "REFUSED", fault="host", code="disk")
        assert "task.requeued" not in names()
        Rig(olga.personal_account, name="another")
        assert Task.objects.get().status == TaskStatus.APPROVED

    def test_what_never_ran_is_told_too(self, alice, dana, account):
        services.reject(submitted(alice, account), by=dana, reason="No", now=clock.now())
        services.cancel(submitted(alice, account), by=alice, now=clock.now())
        submitted(alice, account)
        Task.objects.filter(status="PENDING").update(wait_until=clock.now())
        expire(now=clock.now())
        assert [name for name in names() if name != "task.submitted"] == [
            "task.rejected",
            "task.cancelled",
            "task.expired",
        ]

    @pytest.mark.parametrize(
        ("old", "new", "event"),
        [
            ("", "PENDING", "task.submitted"),
            ("PROCESSING", "APPROVED", "task.requeued"),
            ("ASSIGNED", "APPROVED", None),
            ("APPROVED", "ASSIGNED", None),
            ("PROCESSING", "PROCESSING", None),
        ],
    )
    def test_placing_is_nobody_s_business(self, old, new, event):
        assert event_of(old, new) == event


class TestOthers:
    def test_a_payment(self, account, root):
        payments.record_payment(
            account=account, amount=9_000_000, method="cash", reference="r", by=root, now=clock.now()
        )
        ((event, data),) = heard()
        assert (event, data["received_microusd"]) == ("payment.succeeded", 9_000_000)

    def test_a_host(self, account):
        host = Rig(account).host
        for _ in range(2):
            tell_owners(host=host, trouble=two_agents(clock.now()), key="conflict", now=clock.now())
        ((event, data),) = heard()
        assert (event, data["host"]) == ("host.trouble", str(host.pk))
        assert {"code", "detail", "hint"} <= set(data)

    def test_hours_that_run_low(self, account, settings):
        settings.HOURS_LOW = "100"
        warn_low(now=clock.now()), warn_low(now=clock.now())
        ((event, data),) = heard()
        assert (event, data["asset"]) == ("balance.low", "GPU")
        assert data["available"] < data["below"] == 100 * HOUR

    def test_a_budget(self, alice, account):
        school = Account.objects.create(name="School")
        Membership.objects.create(account=school, user=alice, role=Role.OWNER)
        desk = Account.objects.create(name="Desk", parent=school)
        grant_hours(account=school, gpu_ms=10 * HOUR, by=None, reason="x", key="x")
        fund(account=school, to=desk, asset="GPU", amount=2 * HOUR, by=alice, key="y")
        set_cap(account=desk, asset="GPU", period=CapPeriod.MONTH, limit=HOUR, by=alice, now=clock.now())
        a_webhook(desk, events=["budget.reached"])
        services.submit(a_draft(account=desk, limit_ms=HOUR), by=alice, now=clock.now())
        alert_budgets(now=clock.now()), alert_budgets(now=clock.now())
        ((event, data),) = heard()
        assert (event, data["percent"], data["used"], data["of"]) == ("budget.reached", 100, HOUR, HOUR)
