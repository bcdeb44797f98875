"""Invariants 8 and 9 of the ledger's check: each planted fault is found and told."""

from __future__ import annotations

import pytest

from accounts.ledger import check
from accounts.ledger.models import Hold
from accounts.ledger.services import hold
from accounts.services import hours_balance
from gaas.lib import clock
from payments.models import Charge
from tasks.models import Attempt, AttemptGPU, Task
from tasks.tests.rig import HOUR, Rig, a_task, an_approved_task, has_run_for, running_on, top_up

pytestmark = [pytest.mark.django_db]


def told(number: int) -> list[str]:
    return next(result.problems for result in check.run() if result.number == number)


@pytest.fixture
def ended(alice, dana, olga):
    """A wallet task that ran two minutes on a GPU of 3.60 USD an hour and cost 120 000 micro-dollars."""
    top_up(alice.personal_account, 10_000_000)
    rig = Rig(olga.personal_account, price_per_hour=3_600_000)
    task = an_approved_task(alice, dana, funding="wallet", limit_ms=HOUR)
    offer = running_on(rig)
    has_run_for(offer, 200)
    rig.finish(offer, elapsed_ms=120_000)
    task.refresh_from_db()
    assert (task.cost_microusd, told(8), told(9)) == (120_000, [], [])
    return task


class TestHolds:
    def test_sound_tasks_have_no_problem(self, ended, alice, dana):
        a_task(alice, limit_ms=HOUR)
        an_approved_task(alice, dana, limit_ms=HOUR)
        assert told(8) == told(9) == []

    def test_an_ended_task_with_an_open_hold_is_told(self, alice):
        task = a_task(alice)
        Task.objects.update(status="CANCELLED", finished_at=clock.now())
        assert told(8) == [f"Task {task.pk} is CANCELLED, but its hold is open."]

    def test_a_live_task_with_a_closed_hold_is_told(self, ended, alice):
        task = a_task(alice, limit_ms=HOUR)
        Hold.objects.filter(pk=task.hold_id).update(state="released", released=HOUR, closed_at=clock.now())
        assert told(8) == [f"Task {task.pk} is PENDING, but its hold is released."]

    def test_a_hold_of_another_size_is_told(self, alice):
        task = a_task(alice)
        Task.objects.update(limit_ms=HOUR)
        assert told(8) == [f"Task {task.pk} needs {HOUR} on hold and has {2 * HOUR}."]

    def test_a_hold_without_a_task_is_told(self, alice):
        hold(balance=hours_balance(alice.personal_account), amount=5, key="task:none", purpose="task")
        assert told(8) == ["The open hold task:none is no task's."]

    def test_holds_for_other_purposes_are_left_alone(self, alice):
        hold(balance=hours_balance(alice.personal_account), amount=5, key="payout:1", purpose="payout")
        assert told(8) == []


class TestCharges:
    def test_a_charge_beside_the_formula_is_told(self, ended):
        Charge.objects.update(charge=130_000, owner_part=118_000)
        problems = told(9)
        assert any("the formula 120000 with fee 12000" in problem for problem in problems)
        assert any("shows 120000 GPU-ms and 120000" in problem for problem in problems)

    def test_another_split_is_told(self, ended):
        Charge.objects.update(fee=0, owner_part=120_000)
        problems = told(9)
        assert any("says 120000 = 0 + 120000" in problem for problem in problems)
        assert any("paid 108000 as earning, 12000 as fee;" in problem for problem in problems)

    @pytest.mark.parametrize("fault", [{"gpu_ms": 120_001}, {"price_per_hour": 3_600_001}])
    def test_another_time_or_price_is_told(self, ended, fault):
        Charge.objects.update(**fault)
        assert any("not for what its attempt metered" in problem for problem in told(9))

    def test_a_changed_attempt_is_told(self, ended):
        Attempt.objects.update(metered_ms=1)
        assert told(9)

    def test_a_changed_price_of_the_offer_is_told(self, ended):
        AttemptGPU.objects.update(price_per_hour=1)
        assert told(9)

    def test_a_missing_charge_is_told(self, ended):
        Charge.objects.all().delete()
        assert len(told(9)) == 3

    def test_a_charge_for_no_ended_task_is_told(self, ended):
        Task.objects.update(status="PROCESSING", finished_at=None)
        assert told(9) == [f"Charge {Charge.objects.get().pk} is for no ended task."]

    def test_a_task_that_shows_another_cost_is_told(self, ended):
        Task.objects.update(cost_microusd=1)
        assert told(9) == [f"Task {ended.pk} shows 120000 GPU-ms and 1; not 120000 and 120000 as charged."]

    def test_hours_that_were_not_captured_are_told(self, alice, dana, olga):
        rig = Rig(olga.personal_account)
        task = an_approved_task(alice, dana)
        offer = running_on(rig)
        has_run_for(offer, 200)
        rig.finish(offer, elapsed_ms=120_000)
        assert told(9) == []

        Charge.objects.update(gpu_ms=100_000)
        Attempt.objects.update(metered_ms=100_000)
        Task.objects.update(gpu_ms=100_000)

        assert told(9) == [
            f"Task {task.pk} paid 120000 as usage; its charges say 100000 as usage.",
            f"Task {task.pk} had 120000 captured; its charges say 100000.",
        ]
