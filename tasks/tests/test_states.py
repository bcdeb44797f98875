"""All pairs of states: a row walks along TRANSITIONS and no other way."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction

from gaas.lib import clock
from gaas.lib.errors import IllegalTransition
from tasks.choices import ENDED, LIVE, OPEN, TERMINAL, AttemptStatus, StepStatus, TaskStatus
from tasks.models import ApprovalStep, Attempt, Task, TaskEvent
from tasks.tests.rig import Rig, a_task, an_approved_task, offered_to

pytestmark = [pytest.mark.django_db]


def walk(row, old: str, new: str, **fields) -> None:
    """Put a row in one state and try to move it to another."""
    table = type(row).TRANSITIONS
    if new in table[old]:
        assert row._move_to(new, by=None, now=clock.now(), **fields)
        assert row.status == new
    elif new == old:
        assert not row._move_to(new, by=None, now=clock.now(), **fields)
    else:
        with pytest.raises(IllegalTransition) as refusal:
            row._move_to(new, by=None, now=clock.now(), **fields)
        assert (refusal.value.current, refusal.value.wanted, refusal.value.status) == (old, new, 409)
    assert type(row).objects.get(pk=row.pk).status == (new if new in table[old] else old)


@pytest.mark.parametrize("new", TaskStatus.values)
@pytest.mark.parametrize("old", TaskStatus.values)
def test_tasks(alice, old, new):
    task = a_task(alice)
    Task.objects.update(status=old, finished_at=clock.now() if old in TERMINAL else None)
    task.refresh_from_db()
    events = TaskEvent.objects.count()

    walk(task, old, new, finished_at=clock.now() if new in TERMINAL else None)

    assert TaskEvent.objects.count() == events + (new in Task.TRANSITIONS[old])


class TestManyAtOnce:
    def test_they_move_with_an_event_each(self, alice, dana):
        tasks = [an_approved_task(alice, dana, limit_ms=1000) for _ in range(3)]
        tasks = list(Task.objects.order_by("id"))
        Task.assign_all({task: f"to {number}" for number, task in enumerate(tasks)}, now=clock.now())
        assert list(Task.objects.order_by("id").values_list("status", "epoch")) == [("ASSIGNED", 1)] * 3
        events = TaskEvent.objects.filter(to_status="ASSIGNED").order_by("task_id")
        assert [(event.from_status, event.reason) for event in events] == [("APPROVED", f"to {n}") for n in range(3)]

    def test_none_moves_when_one_is_elsewhere(self, alice, dana):
        for _ in range(2):
            an_approved_task(alice, dana, limit_ms=1000)
        tasks = list(Task.objects.order_by("id"))
        Task.objects.filter(pk=tasks[0].pk).update(status="CANCELLED", finished_at=clock.now())
        with pytest.raises(IllegalTransition):
            Task.assign_all(dict.fromkeys(tasks, ""), now=clock.now())
        assert Task.objects.get(pk=tasks[1].pk).status == "APPROVED"

    def test_none_moves_along_no_way(self, alice):
        task = a_task(alice)
        with pytest.raises(IllegalTransition):
            Task.assign_all({task: ""}, now=clock.now())
        assert Task.objects.get().status == "PENDING"


@pytest.mark.parametrize("new", AttemptStatus.values)
@pytest.mark.parametrize("old", AttemptStatus.values)
def test_attempts(alice, dana, olga, old, new):
    an_approved_task(alice, dana)
    offered_to(Rig(olga.personal_account))
    attempt = Attempt.objects.get()
    Attempt.objects.update(status=old, ended_at=None if old in OPEN else clock.now())
    attempt.gpu_links.update(is_open=old in OPEN)
    attempt.refresh_from_db()

    walk(attempt, old, new, ended_at=None if new in OPEN else clock.now())

    now_at = new if new in Attempt.TRANSITIONS[old] else old
    assert attempt.gpu_links.get().is_open == (now_at in OPEN)


@pytest.mark.parametrize("new", StepStatus.values)
@pytest.mark.parametrize("old", StepStatus.values)
def test_approval_steps(alice, dana, old, new):
    step = a_task(alice).approval_steps.get()
    decided = {"decided_by": dana, "decided_at": clock.now()}
    ApprovalStep.objects.update(status=old, **decided)
    step.refresh_from_db()
    walk(step, old, new, decided_by_id=dana.pk, decided_at=clock.now())


class TestGroups:
    def test_every_state_is_in_one_group(self):
        assert set(TaskStatus) == TERMINAL | LIVE
        assert not TERMINAL & LIVE
        assert set(AttemptStatus) == OPEN | ENDED
        assert not OPEN & ENDED

    def test_nothing_leads_out_of_an_end(self):
        assert all(not Task.TRANSITIONS[state] for state in TERMINAL)
        assert all(not Attempt.TRANSITIONS[state] for state in ENDED)

    @pytest.mark.parametrize("model", [Task, Attempt, ApprovalStep])
    def test_every_state_can_be_reached(self, model):
        table = model.TRANSITIONS
        first = model._meta.get_field("status").default
        assert set(table) == {first} | {new for nexts in table.values() for new in nexts}


class TestDatabase:
    """What no code may write, whatever it forgot."""

    @pytest.mark.parametrize(
        "change",
        [
            {"status": "COMPLETED"},
            {"finished_at": "now"},
            {"status": "SLEEPING"},
            {"gpus": 0},
            {"limit_ms": 0},
            {"funding": "wallet"},
            {"complete_requested_at": "now"},
        ],
    )
    def test_a_task_that_cannot_be_is_refused(self, alice, change):
        a_task(alice)
        change = {key: clock.now() if value == "now" else value for key, value in change.items()}
        with pytest.raises(IntegrityError), transaction.atomic():
            Task.objects.update(**change)

    @pytest.mark.parametrize("change", [{"status": "LOST"}, {"ended_at": "now"}, {"metered_ms": -1}, {"limit_ms": -1}])
    def test_an_attempt_that_cannot_be_is_refused(self, alice, dana, olga, change):
        an_approved_task(alice, dana)
        offered_to(Rig(olga.personal_account))
        change = {key: clock.now() if value == "now" else value for key, value in change.items()}
        with pytest.raises(IntegrityError), transaction.atomic():
            Attempt.objects.update(**change)

    def test_a_task_has_one_open_attempt_and_a_gpu_too(self, alice, dana, olga):
        task = an_approved_task(alice, dana)
        rig = Rig(olga.personal_account)
        offered_to(rig)
        attempt = Attempt.objects.get()
        with pytest.raises(IntegrityError), transaction.atomic():
            Attempt.objects.create(task=task, epoch=9, host=rig.host, offered_at=clock.now(), limit_ms=1)
        with pytest.raises(IntegrityError), transaction.atomic():
            attempt.gpu_links.create(pk=uuid4(), gpu=attempt.gpu_links.get().gpu, price_per_hour=0)

    def test_a_decided_step_names_who_decided(self, alice):
        a_task(alice)
        with pytest.raises(IntegrityError), transaction.atomic():
            ApprovalStep.objects.update(status="APPROVED")


class TestStale:
    def test_of_two_who_read_the_same_state_one_moves_it(self, alice):
        task = a_task(alice)
        other = Task.objects.get(pk=task.pk)
        assert task.approve(by=None, now=clock.now())
        assert not other.approve(by=None, now=clock.now())
        with pytest.raises(IllegalTransition):
            Task(pk=task.pk, status="PENDING").reject(by=None, reason="x", now=clock.now())
