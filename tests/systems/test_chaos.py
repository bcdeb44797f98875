"""Servers, agents and programs die at random while tasks run, hosts are cut off, and every task still ends once.

Every timer runs twenty times faster. CHAOS_TASKS and CHAOS_BLOWS say how many, CHAOS_SEED repeats a choice of victims
and moments. INFRA_RETRIES is out of reach, since with victims by lot a task may lose its host any number of times, and
what is asked here is that none is lost or run to its end twice, not how much bad luck the platform puts up with.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections import Counter
from decimal import Decimal
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from tests import peers
from tests.systems.blows import MOST_AWAY, OUTAGES, Blows
from tests.systems.conftest import not_run
from tests.systems.house import House
from tests.systems.houses import KINDS, lent
from tests.systems.people import TERMINAL, Person, eventually, newcomer
from tests.systems.witness import Witness

TASKS = int(os.environ.get("CHAOS_TASKS", "100"))
BLOWS = int(os.environ.get("CHAOS_BLOWS", "24"))
# Ten minutes for the hundred of every day, which take one or two; the longer form has as much more to do.
MOST_SECONDS = 600 * max(1, TASKS / 100)
PATIENCE = 60
TASK_HOURS = Decimal("0.05")
SCALE = 0.05
LEASE, FENCE, WINDOW = 60 * SCALE, 330 * SCALE, 300 * SCALE
SHORT = 2 * LEASE
# The platform has given up by then what the host held, unless its own servers were away too.
LONG = LEASE + WINDOW + 3
BEAT_SECONDS = 0.2

SCRIPT = """
set -e
nonce=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \\n')
echo "$GAAS_TASK_ID begins $nonce"
{life}
printf '{{"task": "%s", "nonce": "%s"}}' "$GAAS_TASK_ID" "$nonce" > "$GAAS_OUTPUT/result.json"
echo "$GAAS_TASK_ID ends $nonce"
"""

ENVIRONMENT = {
    "TIMER_SCALE": str(SCALE),
    "INFRA_RETRIES": "10000",
    # Likewise hosts: those killed here are innocent.
    "HOST_FAILURES": "10000",
    "POISON_HOSTS": "10000",
    "WELCOME_HOURS": str(TASKS * TASK_HOURS),
}


class Chaos:
    """A house, who works there, and what is known of the programs that ran."""

    def __init__(self, house: House, witness: Witness | None, tasks: int, by_lot: random.Random) -> None:
        self.house, self.witness, self.by_lot = house, witness, by_lot
        self.alice, self.admin = newcomer(house.url, "alice", patient=True), house.admin(patient=True)
        self.blows = Blows(house, by_lot, short=SHORT, long=LONG)
        kinds = list(islice(cycle(self.blows.kinds), max(1, BLOWS * tasks // TASKS)))
        by_lot.shuffle(kinds)
        self.kinds = kinds if house.broker is None else [*kinds, "all messages"]
        # Those of which the host is to be away while they run.
        self.outlasting = [
            self._submit(SHORT + 2 if kind == "short cut" else FENCE + 6) if kind in OUTAGES else ""
            for kind in self.kinds
        ]
        others = tasks - sum(id_ != "" for id_ in self.outlasting)
        self.plain = [self._submit(by_lot.uniform(0.2, 2)) for _ in range(others)]
        self.ids = [*filter(None, self.outlasting), *self.plain]

    def _submit(self, seconds: float) -> str:
        life = f"sleep {seconds:.2f}"
        if self.witness is not None:
            life = self.witness.script(round(seconds / BEAT_SECONDS), each=BEAT_SECONDS)
        spec = {"script": SCRIPT.format(life=life)}
        # A program that is killed has failed by itself as far as anybody can know: it is paid for, and tried again.
        body = {"title": "A task", "spec": spec, "hours": str(TASK_HOURS), "retries": 10}
        return str(self.alice.call("POST", "tasks/", expect=201, json=body)["id"])

    def wreak(self) -> None:
        """Approve the tasks little by little, and strike while each lot runs."""
        waiting = iter(self.plain)
        for kind, outlasting in zip(self.kinds, self.outlasting, strict=True):
            if outlasting:
                # Else it might be over before its host may go.
                self.blows.wait_for_all(MOST_AWAY)
                self.admin.approve(outlasting)
            for id_ in islice(waiting, len(self.plain) // len(self.kinds)):
                self.admin.approve(id_)
            self.blows.sleep(self.by_lot.uniform(0.2, 1.5))
            self.blows.strike(kind, self._living(outlasting) if outlasting else "")
        for id_ in waiting:
            self.admin.approve(id_)
        self.blows.wait_for_all()

    def _living(self, task: str) -> str:
        """Wait until a task lives, and give its attempt; none if it does not come to that soon."""
        assert self.witness is not None
        until = time.monotonic() + PATIENCE
        while not (lives := self.witness.lives(task)) and time.monotonic() < until:
            self.blows.sleep(0.1)
        return lives[-1].attempt if lives else ""


@pytest.mark.parametrize("kind", ["up", "redis"])
def test_every_task_ends_once(kind: str, tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    is_up = kind == "up"
    tasks = TASKS * 3 // 10 if is_up else TASKS
    witness = None if is_up else Witness(tmp_path / "witness")
    print(f"\n{KINDS[kind]}: {tasks} tasks, CHAOS_SEED={seed}", flush=True)
    opened = time.monotonic()
    try:
        with lent(
            kind, tmp_path, ENVIRONMENT, agents=8, gpus=2, has_fronts=True, config=witness.config if witness else ""
        ) as house:
            chaos = Chaos(house, witness, tasks, random.Random(seed))
            began = time.monotonic()
            print(f"everything is there after {began - opened:.1f} s", flush=True)
            chaos.wreak()
            print(f"{sum(chaos.blows.done.values())} blows in {time.monotonic() - began:.1f} s", flush=True)
            _await_all(chaos.alice, began + MOST_SECONDS)
            print(f"all ended after {time.monotonic() - began:.1f} s", flush=True)
            _check(chaos)
            eventually(PATIENCE, "no program is left", lambda: house.programs() == [])
            eventually(PATIENCE, "no folder of an attempt is left", lambda: _folders(house) == [])
            eventually(PATIENCE, "no cgroup of an attempt is left", lambda: not _cgroups() & _started(house))
            assert "invariants hold" in house.manage("ledger_check")
            bases = {_cgroup_of(lease.parent) for lease in _below(tmp_path, "lease.json")}
            assert len(bases) == len(house.agents)
            assert house.end() == []
            assert bases & _cgroups() == set()
    except peers.Missing as why:
        not_run(f"{KINDS[kind]}: {why}")


def _folders(house: House) -> list[Path]:
    return [path for attempts in _below(house.folder, "attempts") for path in attempts.iterdir()]


def _below(folder: Path, name: str) -> list[Path]:
    """Find all of this name. What is removed meanwhile is passed over, where Path.glob would raise."""
    return [Path(at, name) for at, *names in os.walk(folder) if any(name in some for some in names)]


def _started(house: House) -> set[str]:
    return {start[0] for start in house.starts()}


def _cgroups() -> set[str]:
    return {name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names}


def _cgroup_of(state: Path) -> str:
    """Name the folder of an agent's cgroups as cgroups.find does."""
    return "gaas-" + hashlib.sha256(os.fsencode(state)).hexdigest()[:12]


def _await_all(alice: Person, until: float) -> None:
    def late() -> list[dict[str, Any]]:
        return [task for task in alice.pages("tasks/", page_size=200) if task["status"] not in TERMINAL]

    while left := late():
        if time.monotonic() > until:
            attempts = [list(alice.pages(f"tasks/{task['id']}/attempts/")) for task in left[:3]]
            pytest.fail(f"{len(left)} tasks did not end in {MOST_SECONDS:g} s, first of them: {left[:3]} {attempts}")
        time.sleep(max(0.5, TASKS / 200))


def _check(chaos: Chaos) -> None:
    """Hold what the platform says against what programs and executors wrote down."""
    house, alice, ids = chaos.house, chaos.alice, chaos.ids
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
    paid = [_check_task(alice, task, attempts[id_], starts) for id_, task in tasks.items()]
    assert sum(paid) <= chaos.blows.done["program"], "programs that failed though nobody killed them"
    if chaos.witness is not None:
        assert chaos.witness.overlaps() == []
        assert ends["LOST host_lost"] + ends["FAILED fenced"] > 0, "no host was away for long while it ran something"
        _check_meters(chaos.witness, attempts)
    account = alice.account()
    charged = sum(task["gpu_ms"] for task in tasks.values())
    granted = int(TASKS * TASK_HOURS * 3_600_000)
    assert (account["available_gpu_ms"], account["held_gpu_ms"]) == (granted - charged, 0)
    used = [t for t in alice.pages(f"accounts/{account['id']}/transfers/") if t["kind"] == "usage"]
    assert {t["ref"]: t["gpu_ms"] for t in used} == {id_: task["gpu_ms"] for id_, task in tasks.items()}
    assert len(used) == len(ids)


def _check_task(alice: Person, task: dict[str, Any], attempts: list[dict[str, Any]], starts: Counter[str]) -> int:
    """One attempt was accepted, the last one; its log and its result are of the same run.

    It was paid, and of the others only those whose program failed: returns how many.
    """
    [accepted] = [attempt for attempt in attempts if attempt["status"] == "SUCCEEDED"]
    assert accepted["epoch"] == max(attempt["epoch"] for attempt in attempts)
    assert starts[accepted["id"]] == 1
    nonce = task["result"]["nonce"]
    assert task["result"]["task"] == task["id"]
    log = alice.ask("GET", f"tasks/{task['id']}/logs/", params={"attempt": accepted["id"]}).text
    assert log == f"{task['id']} begins {nonce}\n{task['id']} ends {nonce}\n"
    failed = [attempt for attempt in attempts if (attempt["status"], attempt["fault"]) == ("FAILED", "user")]
    assert task["gpu_ms"] == sum(attempt["metered_ms"] for attempt in [accepted, *failed])
    ended = [event for event in alice.pages(f"tasks/{task['id']}/events/") if event["to_status"] in TERMINAL]
    assert len(ended) == 1
    return len(failed)


def _check_meters(witness: Witness, attempts: dict[str, list[dict[str, Any]]]) -> None:
    """Each accepted attempt is metered for as long as its program lived, whatever was down meanwhile."""
    for id_, tried in attempts.items():
        lives = {life.attempt: life.last - life.first for life in witness.lives(id_)}
        for attempt in tried:
            if attempt["status"] == "SUCCEEDED":
                extra = attempt["metered_ms"] / 1000 - lives[attempt["id"]]
                assert -0.1 < extra < WINDOW, (attempt, extra)
