"""The main job by REST, on one process and on separate ones with each broker, and what a lost message costs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from decimal import Decimal
from itertools import count
from typing import Any

import psutil
import pytest

from tests import peers
from tests.systems.conftest import not_run
from tests.systems.house import House, Up
from tests.systems.houses import KINDS, flush, lent
from tests.systems.people import PATIENCE_SECONDS, Person, at_its_end, eventually, newcomer

SCRIPT = """
echo "step one"; sleep 1.2; echo "step two"
printf '{"answer": 42}' > "$GAAS_OUTPUT/result.json"
"""
_names = count(1)


@pytest.fixture(scope="module", params=KINDS)
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    try:
        with lent(request.param, tmp_path_factory.mktemp(request.param), is_cuttable=True) as house:
            yield house
            assert house.end() == []
    except peers.Missing as why:
        not_run(f"{KINDS[request.param]}: {why}")


@pytest.fixture(scope="module")
def admin(house: House) -> Person:
    return house.admin()


@pytest.fixture
def alice(house: House) -> Person:
    return newcomer(house.url, f"alice-{next(_names)}")


def hours(account: dict[str, Any]) -> tuple[Decimal, Decimal]:
    return Decimal(account["hours_available"]), Decimal(account["hours_held"])


def running(person: Person, id_: str) -> None:
    eventually(PATIENCE_SECONDS, "the program runs", lambda: "on" in person.ask("GET", f"tasks/{id_}/logs/").text)


class TestWalk:
    def test_it_takes_a_task_from_submit_to_its_charge(self, house: House, alice: Person, admin: Person) -> None:
        assert hours(alice.account()) == (10, 0)
        body = {"title": "Two steps", "spec": {"script": SCRIPT}, "hours": "2", "gpus": 1}
        quote = alice.call("POST", "tasks/quote/", json=body)
        assert (Decimal(quote["hours_held"]), Decimal(quote["left"]), quote["refusal"]) == (2, 8, None)

        task = alice.call("POST", "tasks/", json=body, expect=201)
        assert task["status"] == "PENDING"
        assert hours(alice.account()) == (8, 2)

        admin.approve(task["id"])
        ended = at_its_end(alice, task["id"])
        assert (ended["status"], ended["exit_code"], ended["result"]) == ("COMPLETED", 0, {"answer": 42}), ended
        assert alice.ask("GET", f"tasks/{task['id']}/logs/").text == "step one\nstep two\n"

        [attempt] = alice.pages(f"tasks/{task['id']}/attempts/")
        assert attempt["status"] == "SUCCEEDED"
        assert 1200 <= attempt["metered_ms"] <= 60_000
        assert ended["gpu_ms"] == attempt["metered_ms"]
        account = alice.account()
        assert account["available_gpu_ms"] == 10 * 3_600_000 - ended["gpu_ms"]
        assert account["held_gpu_ms"] == 0

        transfers = list(alice.pages(f"accounts/{account['id']}/transfers/"))
        assert [(t["kind"], t["direction"], t["gpu_ms"]) for t in transfers] == [
            ("usage", "OUT", ended["gpu_ms"]),
            ("welcome", "IN", 36_000_000),
        ]
        assert transfers[0]["ref"] == task["id"]
        walked = [event["to_status"] for event in alice.pages(f"tasks/{task['id']}/events/")]
        assert walked == ["COMPLETED", "PROCESSING", "ASSIGNED", "APPROVED", "PENDING"]
        assert [started[1] for started in house.starts()].count(task["id"]) == 1

    def test_it_refuses_more_hours_than_there_are_and_stores_nothing(self, alice: Person) -> None:
        body = {"title": "Too much", "spec": {"script": "true"}, "hours": "11"}
        error = alice.refused(400, "POST", "tasks/", json=body)
        assert (error["code"], error["attr"]) == ("insufficient_quota", "hours")
        assert list(alice.pages("tasks/")) == []
        assert hours(alice.account()) == (10, 0)

    def test_a_reject_gives_the_hours_back_and_shows_the_reason(self, alice: Person, admin: Person) -> None:
        task = alice.submit("true")
        admin.call("POST", f"tasks/{task['id']}/reject/", json={"reason": "Not this week."})
        seen = alice.task(task["id"])
        assert seen["status"] == "REJECTED"
        assert [step["reason"] for step in seen["approval_steps"]] == ["Not this week."]
        assert hours(alice.account()) == (10, 0)

    def test_a_user_cannot_approve(self, alice: Person) -> None:
        task = alice.submit("true")
        alice.refused(403, "POST", f"tasks/{task['id']}/approve/", json={})
        assert alice.task(task["id"])["status"] == "PENDING"

    def test_nobody_sees_the_task_of_another(self, house: House, alice: Person) -> None:
        task = alice.submit("true")
        charlie = newcomer(house.url, f"charlie-{next(_names)}")
        for method, path in (("GET", ""), ("GET", "logs/"), ("POST", "approve/"), ("POST", "cancel/")):
            charlie.refused(404, method, f"tasks/{task['id']}/{path}", **({"json": {}} if method == "POST" else {}))

    def test_a_task_is_approved_once(self, alice: Person, admin: Person) -> None:
        task = alice.submit("true")
        admin.approve(task["id"])
        error = admin.refused(409, "POST", f"tasks/{task['id']}/approve/", json={})
        assert error["code"] == "wrong_state"
        assert at_its_end(alice, task["id"])["status"] == "COMPLETED"

    def test_a_cancelled_run_is_charged_for_what_ran(self, alice: Person, admin: Person) -> None:
        task = alice.submit("echo on; sleep 300")
        admin.approve(task["id"])
        running(alice, task["id"])
        time.sleep(1)
        assert alice.call("POST", f"tasks/{task['id']}/cancel/", json={})["is_cancelling"]
        ended = at_its_end(alice, task["id"])
        assert ended["status"] == "CANCELLED"
        assert 1000 <= ended["gpu_ms"] < 120_000
        assert alice.account()["available_gpu_ms"] == 36_000_000 - ended["gpu_ms"]
        assert alice.account()["held_gpu_ms"] == 0


class TestStop:
    def test_live_stops_at_once_with_a_wait_pending(self, house: House, alice: Person, admin: Person) -> None:
        live = house.servers[-1]
        port = int(house.live_url.rpartition(":")[2])

        def is_waited_for() -> bool:
            connections = psutil.Process(house.pid(live)).net_connections("tcp")
            return any(c.laddr.port == port and c.status == psutil.CONN_ESTABLISHED for c in connections)

        eventually(PATIENCE_SECONDS, "an agent waits", is_waited_for)
        took = house.terminate(live)
        print(f"\n{live} stopped in {took:.2f} s")
        house.start(live)
        house.await_answers(house.live_url, live)
        assert took < 20  # a wait lasts half as long again
        # And its agents come back.
        task = alice.submit("true")
        admin.approve(task["id"])
        assert at_its_end(alice, task["id"])["status"] == "COMPLETED"


class TestLostMessages:
    def test_what_the_broker_forgot_the_sweep_sends_again(self, house: House, alice: Person, admin: Person) -> None:
        task = alice.submit("true")
        if isinstance(house, Up):
            # Its messages live in its memory.
            admin.approve(task["id"])
            house.kill("up")
        else:
            house.kill("worker")
            admin.approve(task["id"])
            flush(house)
        house.start(house.workers[0])
        house.await_answers(house.url, house.servers[0])
        assert at_its_end(alice, task["id"])["status"] == "COMPLETED"

    def test_people_can_go_on_without_a_broker(self, house: House, alice: Person, admin: Person) -> None:
        if house.wire is None:
            pytest.skip("a broker in memory is never away")
        task = alice.submit("true")
        house.wire.cut()
        try:
            began = time.monotonic()
            admin.approve(task["id"])
            took = time.monotonic() - began
            assert alice.task(task["id"])["status"] == "APPROVED"
        finally:
            house.wire.mend()
        assert took < 60
        assert at_its_end(alice, task["id"])["status"] == "COMPLETED"

    def test_a_redis_that_hangs_holds_nobody_up_for_long(self, house: House, alice: Person, admin: Person) -> None:
        if house.broker is None or house.broker.name != "redis" or house.broker.pid is None:
            pytest.skip("for Redis, whose clients wait for ever unless told otherwise")
        task = alice.submit("true")
        os.kill(house.broker.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            admin.approve(task["id"])
            took = time.monotonic() - began
        finally:
            os.kill(house.broker.pid, signal.SIGCONT)
        print(f"\napproved in {took:.1f} s without an answer of Redis")
        assert took < 60
        assert at_its_end(alice, task["id"])["status"] == "COMPLETED"


class TestBooks:
    def test_they_hold_in_the_end(self, house: House) -> None:
        assert "invariants hold" in house.manage("ledger_check")
