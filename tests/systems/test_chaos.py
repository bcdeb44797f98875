"""Servers, workers and agents die at random while tasks run, and every task still ends once.

Every timer runs twenty times faster. CHAOS_TASKS and CHAOS_KILLS say how many, CHAOS_SEED repeats a choice of victims
and moments. INFRA_RETRIES is out of reach, since with victims by lot a task may lose its host any number of times, and
what is asked here is that none is lost or run to its end twice, not how much bad luck the platform puts up with.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from decimal import Decimal
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from tests import peers
from tests.systems.conftest import not_run
from tests.systems.house import House
from tests.systems.houses import KINDS, flush, lent
from tests.systems.people import TERMINAL, Person, eventually, newcomer

TASKS = int(os.environ.get("CHAOS_TASKS", "60"))
KILLS = int(os.environ.get("CHAOS_KILLS", "10"))
# Three minutes for the sixty of every day; the longer form has as much more to do.
MOST_SECONDS = 180 * max(1, TASKS / 60)
TASK_HOURS = Decimal("0.05")
# A lease, the reconnect window and some: the platform has given up by then what the agent held.
AWAY_SECONDS = (60 + 300) * 0.05 + 3

SCRIPT = """
nonce=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \\n')
echo "$GAAS_TASK_ID begins $nonce"
sleep {seconds:.2f}
printf '{{"task": "%s", "nonce": "%s"}}' "$GAAS_TASK_ID" "$nonce" > "$GAAS_OUTPUT/result.json"
echo "$GAAS_TASK_ID ends $nonce"
"""

ENVIRONMENT = {
    "TIMER_SCALE": "0.05",
    "INFRA_RETRIES": "10000",
    # Likewise hosts: those killed here are innocent.
    "HOST_FAILURES": "10000",
    "POISON_HOSTS": "10000",
    "WELCOME_HOURS": str(TASKS * TASK_HOURS),
}


@pytest.mark.parametrize("kind", ["up", "redis"])
def test_every_task_ends_once(kind: str, tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"\n{KINDS[kind]}: {TASKS} tasks, {KILLS} kills, CHAOS_SEED={seed}", flush=True)
    try:
        with lent(kind, tmp_path, ENVIRONMENT, agents=2, gpus=2) as house:
            began = time.monotonic()
            alice = newcomer(house.url, "alice", patient=True)
            by_lot = random.Random(seed)
            ids = [
                alice.submit(SCRIPT.format(seconds=by_lot.uniform(0.2, 2)), title=f"{number}", hours=str(TASK_HOURS))[
                    "id"
                ]
                for number in range(TASKS)
            ]
            _wreak(house, house.admin(patient=True), ids, by_lot)
            _await_all(alice, began + MOST_SECONDS)
            print(f"all ended after {time.monotonic() - began:.1f} s", flush=True)
            _check(house, alice, ids)
            assert eventually(10, "no program is left", lambda: house.programs() == [])
            assert "invariants hold" in house.manage("ledger_check")
            assert house.end() == []
    except peers.Missing as why:
        not_run(f"{KINDS[kind]}: {why}")


def _wreak(house: House, admin: Person, ids: list[str], by_lot: random.Random) -> None:
    """Approve the tasks little by little, and kill somebody while each lot runs.

    Each third time a program's supervisor dies too, which is the host's fault. Where there are two agents, one of
    those killed stays away until its attempts were given up, and returns.
    """
    kinds = [house.servers, house.workers, house.agents]
    victims = [by_lot.choice(kind) for kind in islice(cycle(kinds), KILLS)]
    by_lot.shuffle(victims)
    flushed_at = by_lot.randrange(KILLS)
    away = ""
    waiting = iter(ids)
    for number, victim in enumerate(victims):
        for id_ in islice(waiting, len(ids) // KILLS):
            admin.approve(id_)
        if victim == away:
            victim = next(agent for agent in house.agents if agent != away)
        time.sleep(by_lot.uniform(0.2, 2.5))
        house.kill(victim)
        notes = []
        if number % 3 == 0 and (supervisors := house.supervisors()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(by_lot.choice(supervisors), signal.SIGKILL)
                notes.append("a supervisor")
        if number == flushed_at and house.broker is not None:
            flush(house)
            notes.append("all messages")
        stays = not away and victim in house.agents and len(house.agents) > 1
        if stays:
            notes.append("for long")
        print(f"kill -9 {', '.join([victim, *notes])}", flush=True)
        if stays:
            away = victim
            continue
        time.sleep(by_lot.uniform(0, 1))
        house.start(victim)
        if victim == house.servers[0]:
            house.await_answers(house.url, victim)
    for id_ in waiting:
        admin.approve(id_)
    if away:
        # Counted from now: every gap in the sweep's own ticks has given the lost host a new lease.
        time.sleep(AWAY_SECONDS)
        house.start(away)


def _await_all(alice: Person, until: float) -> None:
    def all_ended() -> bool:
        return all(task["status"] in TERMINAL for task in alice.pages("tasks/", page_size=200))

    while not all_ended():
        if time.monotonic() > until:
            late = [t for t in alice.pages("tasks/", page_size=200) if t["status"] not in TERMINAL]
            attempts = [list(alice.pages(f"tasks/{task['id']}/attempts/")) for task in late[:3]]
            pytest.fail(f"{len(late)} tasks did not end in {MOST_SECONDS:g} s, first of them: {late[:3]} {attempts}")
        time.sleep(0.5)


def _check(house: House, alice: Person, ids: list[str]) -> None:
    """Hold what the platform says against what programs and executors wrote down."""
    tasks = {task["id"]: alice.task(task["id"]) for task in alice.pages("tasks/", page_size=200)}
    assert sorted(tasks) == sorted(ids)
    starts = Counter(start[0] for start in house.starts())
    attempts = {id_: list(alice.pages(f"tasks/{id_}/attempts/")) for id_ in ids}
    ends = Counter(f"{a['status']} {a['failure_code']}".strip() for tried in attempts.values() for a in tried)
    print(f"{sum(ends.values())} attempts, {sum(starts.values())} programs started: {dict(ends.most_common())}")
    assert [task for task in tasks.values() if task["status"] != "COMPLETED"] == []
    assert {id_: n for id_, n in starts.items() if n > 1} == {}, "programs that were started twice"
    known = {attempt["id"] for tried in attempts.values() for attempt in tried}
    assert set(starts) <= known, "programs that the platform does not know of"
    for id_, task in tasks.items():
        _check_task(alice, task, attempts[id_], starts)
    account = alice.account()
    charged = sum(task["gpu_ms"] for task in tasks.values())
    granted = int(TASKS * TASK_HOURS * 3_600_000)
    assert (account["available_gpu_ms"], account["held_gpu_ms"]) == (granted - charged, 0)
    used = [t for t in alice.pages(f"accounts/{account['id']}/transfers/") if t["kind"] == "usage"]
    assert {t["ref"]: t["gpu_ms"] for t in used} == {id_: task["gpu_ms"] for id_, task in tasks.items()}
    assert len(used) == len(ids)


def _check_task(alice: Person, task: dict[str, Any], attempts: list[dict[str, Any]], starts: Counter[str]) -> None:
    """One attempt was accepted; its log and its result are of the same run; no other attempt was paid."""
    [accepted] = [attempt for attempt in attempts if attempt["status"] == "SUCCEEDED"]
    assert starts[accepted["id"]] == 1
    nonce = task["result"]["nonce"]
    assert task["result"]["task"] == task["id"]
    log = alice.ask("GET", f"tasks/{task['id']}/logs/", params={"attempt": accepted["id"]}).text
    assert log == f"{task['id']} begins {nonce}\n{task['id']} ends {nonce}\n"
    assert task["gpu_ms"] == accepted["metered_ms"]
    ended = [event for event in alice.pages(f"tasks/{task['id']}/events/") if event["to_status"] in TERMINAL]
    assert len(ended) == 1
