"""Two at once: one wins, the other is told, and the books add up."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection

from accounts.ledger import check
from accounts.ledger.models import Hold
from accounts.ledger.tests.conftest import race
from gaas.lib import clock
from gaas.lib.errors import Conflict
from gpus.models import Host
from gpus.services import SyncReport
from gpus.tests.fleet import a_device, some_facts
from tasks import services
from tasks.models import Attempt, AttemptGPU, Scheduler, Task
from tasks.services.attempts import LeaseLost, Report
from tasks.services.sweep import reap
from tasks.services.sync import Held
from tasks.tests.rig import HOUR, Rig, a_task, an_approved_task, has_run_for, hours_of, offered_to, running_on

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("postgresql")]

ROUNDS = 200


@pytest.fixture(autouse=True)
def _hosts_are_forgiven_everything(settings):
    """Have the same host refuse and lose again and again, as these races need it."""
    settings.HOST_FAILURES = 10**4


Calls = list[Callable[[], object]]


def rounds(prepare: Callable[[], Calls], settled: Callable[[list[object]], None], times: int) -> None:
    """Have two threads with connections of their own run a pair of calls at one moment, again and again."""
    gate = threading.Barrier(3)
    calls: Calls = []
    outcomes: list[object] = [None, None]
    is_over = threading.Event()

    def run(number: int) -> None:
        try:
            while True:
                gate.wait(120)
                if is_over.is_set():
                    return
                try:
                    outcomes[number] = calls[number]()
                except Exception as error:
                    outcomes[number] = error
                gate.wait(120)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(times):
            calls[:] = prepare()
            gate.wait(120)
            gate.wait(120)
            settled(list(outcomes))
    finally:
        is_over.set()
        gate.wait(120)
        for thread in threads:
            thread.join(120)


def problems() -> list[str]:
    return [problem for result in check.run() for problem in result.problems]


def one_of(outcomes: list[object]) -> int:
    """Give who won; the other must have got a 409."""
    winners = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Task)]
    assert len(winners) == 1, outcomes
    loser = outcomes[1 - winners[0]]
    assert isinstance(loser, Conflict), loser
    assert (loser.status, loser.code) == (409, "wrong_state")
    return winners[0]


class TestDecisions:
    def test_of_two_approves_one_wins(self, alice, dana, root):
        wins: Counter[int] = Counter()

        def prepare():
            self.task = a_task(alice, limit_ms=1_000)
            reads = [Task.objects.get(pk=self.task.pk) for _ in range(2)]
            return [
                lambda: services.approve(reads[0], by=dana, limit_ms=600, now=clock.now()),
                lambda: services.approve(reads[1], by=root, limit_ms=600, now=clock.now()),
            ]

        def settled(outcomes):
            winner = one_of(outcomes)
            wins[winner] += 1
            self.task.refresh_from_db()
            assert (self.task.status, self.task.hold.open_amount) == ("APPROVED", 600)
            assert self.task.approval_steps.get().decided_by == (dana, root)[winner]
            assert self.task.events.count() == 2

        rounds(prepare, settled, ROUNDS)
        assert wins.total() == ROUNDS
        assert hours_of(alice.personal_account) == (10 * HOUR - ROUNDS * 600, ROUNDS * 600)
        assert problems() == []

    def test_of_approve_and_cancel_one_wins(self, alice, dana):
        wins: Counter[int] = Counter()

        def prepare():
            self.task = a_task(alice, limit_ms=1_000)
            reads = [Task.objects.select_related("hold").get(pk=self.task.pk) for _ in range(2)]
            return [
                lambda: services.approve(reads[0], by=dana, now=clock.now()),
                lambda: services.cancel(reads[1], by=alice, now=clock.now()),
            ]

        def settled(outcomes):
            winner = one_of(outcomes)
            wins[winner] += 1
            self.task.refresh_from_db()
            hold = Hold.objects.get(pk=self.task.hold_id)
            assert (self.task.status, hold.state, hold.open_amount) == (
                ("APPROVED", "open", 1_000),
                ("CANCELLED", "released", 0),
            )[winner]

        rounds(prepare, settled, ROUNDS)
        assert wins.total() == ROUNDS
        assert hours_of(alice.personal_account) == (10 * HOUR - wins[0] * 1_000, wins[0] * 1_000)
        assert problems() == []


class TestAgents:
    def test_of_finish_and_cancel_the_first_commit_wins(self, alice, dana, olga):
        rig = Rig(olga.personal_account)
        ended: Counter[str] = Counter()

        def prepare():
            task = an_approved_task(alice, dana, limit_ms=100_000)
            offer = running_on(rig)
            has_run_for(offer, 50)
            rig.held.clear()
            self.task = Task.objects.select_related("hold").get(pk=task.pk)
            host = Host.objects.get(pk=rig.host_id)
            report = Report(offer["epoch"], "SUCCEEDED", "none", 0, "", "", 1_000, 0, "")
            return [
                lambda: services.finish(attempt_id=offer["id"], host=host, report=report, now=clock.now()),
                lambda: services.cancel(self.task, by=alice, now=clock.now()),
            ]

        def settled(outcomes):
            finished, cancelled = outcomes
            assert isinstance(finished, Task), finished
            stored = Task.objects.get(pk=self.task.pk)
            if isinstance(cancelled, Task):
                assert stored.status == "CANCELLED"
            else:
                assert isinstance(cancelled, Conflict), cancelled
                assert stored.status == "COMPLETED"
            assert (stored.gpu_ms, Hold.objects.get(pk=stored.hold_id).state) == (1_000, "captured")
            ended[stored.status] += 1

        rounds(prepare, settled, 40)
        assert ended.total() == 40
        assert hours_of(alice.personal_account) == (10 * HOUR - 40_000, 0)
        assert problems() == []

    def test_of_two_finishes_one_settles(self, alice, dana, olga):
        rig = Rig(olga.personal_account)
        an_approved_task(alice, dana)
        offer = running_on(rig)
        has_run_for(offer, 50)
        report = Report(offer["epoch"], "SUCCEEDED", "none", 0, "", "", 1_000, 0, "")

        outcomes = race(
            *[lambda: services.finish(attempt_id=offer["id"], host=rig.host, report=report, now=clock.now())] * 6
        )

        assert [getattr(outcome, "status", outcome) for outcome in outcomes] == ["COMPLETED"] * 6
        assert hours_of(alice.personal_account) == (10 * HOUR - 1_000, 0)
        assert problems() == []

    def test_of_sweep_and_sync_each_leaves_a_state_that_stands(self, alice, dana, olga):
        rig = Rig(olga.personal_account)
        seen: Counter[str] = Counter()

        def prepare():
            self.task = an_approved_task(alice, dana, limit_ms=1_000)
            Attempt.objects.filter(status="REFUSED").update(ended_at=clock.now() - timedelta(days=1))
            offer = offered_to(rig)
            host = Host.objects.get(pk=rig.host_id)
            rig.seq += 1
            report = SyncReport(
                session=rig.session,
                seq=rig.seq,
                boot_id=rig.boot,
                clock=clock.now().isoformat(),
                facts=some_facts(),
                gpus=rig.devices,
            )
            held = [Held(UUID(offer["id"]), offer["epoch"], "PREPARING", 0, 0, None)]
            self.offer = offer
            return [
                lambda: services.sync(host=host, report=report, held=held, now=clock.now()),
                lambda: reap(now=clock.now() + timedelta(seconds=61)),
            ]

        def settled(outcomes):
            assert not any(isinstance(outcome, Exception) for outcome in outcomes), outcomes
            attempt = Attempt.objects.get(pk=self.offer["id"])
            self.task.refresh_from_db()
            assert (attempt.status, self.task.status) in {("PREPARING", "ASSIGNED"), ("REFUSED", "APPROVED")}
            assert attempt.gpu_links.get().is_open == attempt.is_open
            seen[attempt.status] += 1
            rig.held.clear()
            if attempt.is_open:
                rig.finish(self.offer, "REFUSED", exit_code=None)
            self.task.refresh_from_db()
            services.cancel(self.task, by=alice, now=clock.now())

        rounds(prepare, settled, 40)
        assert seen.total() == 40
        assert problems() == []

    def test_of_start_and_reap_one_has_the_attempt(self, alice, dana, olga):
        rig = Rig(olga.personal_account)

        def prepare():
            self.task = an_approved_task(alice, dana, limit_ms=1_000)
            Attempt.objects.filter(status="REFUSED").update(ended_at=clock.now() - timedelta(days=1))
            self.offer = offered_to(rig)
            rig.held.clear()
            host = Host.objects.get(pk=rig.host_id)
            how = {"epoch": self.offer["epoch"], "session": rig.session, "seq": rig.seq}
            return [
                lambda: services.start(attempt_id=self.offer["id"], host=host, now=clock.now(), **how),
                lambda: reap(now=clock.now() + timedelta(seconds=61)),
            ]

        def settled(outcomes):
            attempt = Attempt.objects.get(pk=self.offer["id"])
            if isinstance(outcomes[0], int):
                assert attempt.status == "RUNNING"
                rig.finish(self.offer, "FAILED", fault="host", code="disk")
            else:
                assert isinstance(outcomes[0], LeaseLost), outcomes
                assert attempt.status == "REFUSED"
            self.task.refresh_from_db()
            services.cancel(self.task, by=alice, now=clock.now())

        rounds(prepare, settled, 40)
        assert problems() == []


class TestMatcher:
    def test_passes_at_once_assign_nothing_twice(self, alice, dana, olga):
        rig = Rig(olga.personal_account, *[a_device(index=i) for i in range(6)])
        for _ in range(5):
            tasks = [an_approved_task(alice, dana, limit_ms=1_000) for _ in range(8)]
            Scheduler.objects.update(requested=Scheduler.objects.get().requested + 1)

            outcomes = race(*[services.schedule] * 4)

            assert sum(outcomes) == 6, outcomes
            links = AttemptGPU.objects.filter(is_open=True)
            assert links.count() == links.values("gpu").distinct().count() == 6
            state = Scheduler.objects.get()
            assert state.served == state.requested
            for offer in rig.sync()["attempts"]:
                rig.finish(offer, "REFUSED", exit_code=None)
            for task in tasks:
                task.refresh_from_db()
                services.cancel(task, by=alice, now=clock.now())
        assert problems() == []

    def test_a_wake_that_finds_the_lock_taken_is_served_by_its_holder(self, alice, dana, olga):
        Rig(olga.personal_account, *[a_device(index=i) for i in range(20)])

        def approve_one_more(task):
            services.approve(task, by=dana, now=clock.now())  # its wake is counted when it commits
            return services.schedule()

        tasks = [a_task(alice, limit_ms=1_000) for _ in range(12)]
        outcomes = race(*[lambda task=task: approve_one_more(task) for task in tasks])

        assert not any(isinstance(outcome, Exception) for outcome in outcomes), outcomes
        assert Task.objects.filter(status="ASSIGNED").count() == 12
        assert problems() == []
