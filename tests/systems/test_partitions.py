"""Hosts behind wires that are cut, deaf, or slow; servers and databases that restart; clocks that jump.

Servers and each host are in networks of their own. Every timer runs ten times faster: a lease is 6 s, the reconnect
window 30 s, and a program that is cut off is ended 33 s after the last answered sync was sent: long enough for four
servers to start on two busy cores. Programs live until they are told, and say on the machine's one clock when they do,
so that two of one task would be seen.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gpus.agent.clock import boottime
from tests import peers
from tests.systems.conftest import not_run
from tests.systems.other_time import OtherTime, build
from tests.systems.people import Person, at_its_end, eventually, newcomer
from tests.systems.separate import Separate
from tests.systems.wires import SERVER, Wire, wired
from tests.systems.witness import BEAT_SECONDS, Witness

SCALE = 0.1
LEASE, WINDOW, FENCE = 60 * SCALE, 300 * SCALE, 330 * SCALE
CUT_OFF = 3  # hosts whose wires are cut; one more takes over what they lose
PATIENCE = 120
MOST_BEATS = round(300 / BEAT_SECONDS)  # of programs that nobody tells to end


@dataclass
class Place:
    """A platform whose hosts are each behind a wire."""

    house: Separate
    wires: list[Wire]
    witness: Witness
    database: peers.Peer
    clock: dict[str, OtherTime]
    admin: Person
    alice: Person
    later: ExitStack
    runs: int = 0

    def run(self, count: int) -> list[str]:
        """Have so many tasks approved that live until they may end, and come back when each of them does."""
        self.runs += 1
        script = self.witness.script(MOST_BEATS, until=f"end-{self.runs}")
        ids = [self.alice.submit(script, title=f"{number}", hours="0.1")["id"] for number in range(count)]
        for id_ in ids:
            self.admin.approve(id_)
        self.await_beats(ids)
        return ids

    def let_end(self) -> None:
        """Tell the programs of the last run to end."""
        self.witness.tell(f"end-{self.runs}")

    def await_beats(self, ids: list[str]) -> None:
        """Wait until each of these programs has lived after this moment."""
        now = boottime()
        eventually(PATIENCE, "every program lives", lambda: all(self.witness.last_beat(id_) > now for id_ in ids))

    def attempts(self, id_: str) -> list[dict[str, Any]]:
        return sorted(self.alice.pages(f"tasks/{id_}/attempts/"), key=lambda attempt: attempt["epoch"])

    def ended(self, ids: list[str]) -> None:
        """Have them end and wait for it: each COMPLETED, and no two programs of one task at one moment."""
        self.let_end()
        states = {id_: at_its_end(self.alice, id_) for id_ in ids}
        odd = [state for state in states.values() if state["status"] != "COMPLETED"]
        assert odd == [], [self.attempts(task["id"]) for task in odd]
        assert self.witness.overlaps() == []

    def each_was_tried_once(self, ids: list[str]) -> None:
        for id_ in ids:
            assert [(a["status"], a["epoch"]) for a in self.attempts(id_)] == [("SUCCEEDED", 1)], self.attempts(id_)
            assert len(self.witness.lives(id_)) == 1

    def reachable(self) -> set[str]:
        return {host["name"] for host in self.admin.pages("hosts/") if host["is_reachable"]}

    def host(self, number: int) -> dict[str, Any]:
        [host] = [host for host in self.admin.pages("hosts/") if host["name"] == f"agent-{number}"]
        return host

    def all_reachable(self) -> None:
        eventually(PATIENCE, "all hosts are heard", lambda: len(self.reachable()) == CUT_OFF + 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("partitions")
    try:
        with ExitStack() as stack:
            wires = stack.enter_context(wired(CUT_OFF + 1))
            database = stack.enter_context(peers.postgresql(own=True))
            broker = stack.enter_context(peers.redis(own=True))
            later = stack.enter_context(ExitStack())
            witness = Witness(folder / "witness")
            library = build(folder)
            clock = {side: OtherTime(folder / f"clock-of-{side}", library) for side in ("servers", "agents")}
            environment = {
                "BROKER_URL": broker.url,
                "CACHE_URL": f"{broker.url.rpartition('/')[0]}/1",
                "TIMER_SCALE": str(SCALE),
                "HOST_FAILURES": "100",
                "POISON_HOSTS": "100",
                "WELCOME_HOURS": "100",
                **clock["servers"].environment,
            }

            def at_the_far_end(agent: str) -> list[str]:
                wire = wires[int(agent.rpartition("-")[2]) - 1]
                return [*wire.inside(), "env", f"OTHER_TIME={clock['agents'].environment['OTHER_TIME']}"]

            house = stack.enter_context(
                Separate(
                    folder,
                    environment,
                    server=database.url,
                    agents=CUT_OFF + 1,
                    gpus=CUT_OFF,
                    address=SERVER,
                    reached_by=at_the_far_end,
                    config=witness.config,
                )
            )
            admin = house.admin(patient=True)
            _one_gpu_each(admin)
            alice = newcomer(house.url, "alice", patient=True)
            yield Place(house, wires, witness, database, clock, admin, alice, later)
            assert eventually(PATIENCE, "no program is left", lambda: house.programs() == [])
            assert "invariants hold" in house.manage("ledger_check")
            assert house.end() == []
    except peers.Missing as why:
        not_run(f"partitions: {why}")


@pytest.fixture(autouse=True)
def _whole_again(place: Place) -> Iterator[None]:
    """Leave no wire cut and no program alive to the next test."""
    yield
    place.let_end()
    for wire in place.wires:
        wire.mend()


def _one_gpu_each(admin: Person) -> None:
    """Leave the hosts that will be cut off one GPU each, and the last one all of its own, which rests for now."""
    for number in range(1, CUT_OFF + 1):
        gpus = [gpu for gpu in admin.pages("gpus/") if gpu["host_name"] == f"agent-{number}"]
        for gpu in gpus[1:]:
            admin.call("POST", f"gpus/{gpu['id']}/unlist/", json={})
    _rest(admin, "drain")


def _rest(admin: Person, verb: str) -> None:
    [spare] = [host for host in admin.pages("hosts/") if host["name"] == f"agent-{CUT_OFF + 1}"]
    admin.call("POST", f"hosts/{spare['id']}/{verb}/", json={})


class TestShorterThanTheGrace:
    def test_a_cut_and_losses_one_way_each_lose_nothing(self, place: Place) -> None:
        ids = place.run(CUT_OFF)
        cut, deaf_host, deaf_server = place.wires[:CUT_OFF]
        cut.cut()
        deaf_host.lose_what_the_server_sends()
        deaf_server.lose_what_the_host_sends()
        eventually(PATIENCE, "all three miss their leases", lambda: place.reachable() == {f"agent-{CUT_OFF + 1}"})
        place.await_beats(ids)
        for wire in place.wires[:CUT_OFF]:
            wire.mend()
        place.all_reachable()
        place.ended(ids)
        place.each_was_tried_once(ids)

    @pytest.mark.long
    def test_a_slow_wire_delays_the_log_and_loses_nothing(self, place: Place) -> None:
        place.wires[0].slow_down(kbit=64)
        try:
            noise = "head -c 45000 /dev/urandom | od -An -v -tx1 -w32 | head -c 40000; echo the end"
            body = {"title": "slow", "spec": {"script": place.witness.script(60) + noise}, "hours": "0.1"}
            task = place.alice.call("POST", "tasks/", expect=201, json={**body, "host": place.host(1)["id"]})
            place.admin.approve(task["id"])
            place.ended([task["id"]])
            place.each_was_tried_once([task["id"]])
            log = place.alice.ask("GET", f"tasks/{task['id']}/logs/").text
            assert (len(log), log[-8:]) == (40_008, "the end\n")
        finally:
            place.wires[0].mend()

    def test_servers_that_restart_find_everything_as_it_was(self, place: Place) -> None:
        ids = place.run(CUT_OFF)
        names = ["web", "live", "worker", "beat"]
        for name in names:
            place.house.kill(name)
        time.sleep(LEASE + 1)
        place.await_beats(ids)
        for name in names:
            place.house.start(name)
        place.house.await_answers(place.house.url, "web")
        place.ended(ids)
        place.each_was_tried_once(ids)
        place.all_reachable()

    @pytest.mark.long
    def test_a_database_that_restarts_costs_nothing(self, place: Place) -> None:
        ids = place.run(CUT_OFF)
        place.later.enter_context(_restarted(place.database, away=LEASE / 3))
        place.await_beats(ids)
        place.ended(ids)
        place.each_was_tried_once(ids)
        place.all_reachable()

    @pytest.mark.parametrize("side", ["servers", pytest.param("agents", marks=pytest.mark.long)])
    def test_a_clock_that_jumps_an_hour_decides_nothing(self, place: Place, side: str) -> None:
        ids = place.run(CUT_OFF)
        try:
            for jump in (3600, -3600):
                place.clock[side].jump(jump)
                time.sleep(LEASE)
                place.await_beats(ids)
                place.alice.log_in()
                place.admin.log_in()
                place.all_reachable()
                if side == "agents":
                    assert abs(place.host(1)["clock_skew_seconds"] - jump) < 30
                    assert [trouble["code"] for trouble in place.host(1)["troubles"]] == ["clock_skew"]
        finally:
            place.clock[side].jump(0)
            place.alice.log_in()
            place.admin.log_in()
        place.ended(ids)
        place.each_was_tried_once(ids)
        for id_ in ids:
            [attempt] = place.attempts(id_)
            [life] = place.witness.lives(id_)
            assert abs(attempt["metered_ms"] / 1000 - (life.last - life.first)) < 60, (attempt, life)


class TestLongerThanTheGrace:
    def test_agents_end_their_programs_before_these_are_given_away(self, place: Place) -> None:
        ids = place.run(CUT_OFF)
        _rest(place.admin, "undrain")
        cut, deaf_host, deaf_server = place.wires[:CUT_OFF]
        began = boottime()
        cut.cut()
        deaf_host.lose_what_the_server_sends()
        deaf_server.lose_what_the_host_sends()

        eventually(
            FENCE + PATIENCE, "all run elsewhere", lambda: all(len(place.witness.lives(id_)) == 2 for id_ in ids)
        )

        for id_ in ids:
            lost, again = place.witness.lives(id_)
            alone, gap = lost.last - began, again.first - lost.last
            print(f"cut off for {alone:.1f} s, then ended; elsewhere {gap:.1f} s later", flush=True)
            assert alone > FENCE - LEASE
            assert gap > 0
            first, second = place.attempts(id_)
            assert (first["status"], first["failure_code"], second["epoch"]) == ("LOST", "host_lost", 2)
        for wire in place.wires[:CUT_OFF]:
            wire.mend()
        place.all_reachable()
        for id_ in ids:
            place.admin.call("POST", f"tasks/{id_}/cancel/", json={})
        for id_ in ids:
            assert at_its_end(place.alice, id_)["status"] == "CANCELLED"
        assert place.witness.overlaps() == []
        _rest(place.admin, "drain")


@contextmanager
def _restarted(database: peers.Peer, *, away: float) -> Iterator[None]:
    """Stop a PostgreSQL of our own as its operator would, start it on the same data after a while, and end that one."""
    assert database.pid is not None
    folder = Path(f"/proc/{database.pid}")
    command = (folder / "cmdline").read_bytes().decode().split("\0")[:-1]
    owner = folder.stat()
    os.kill(database.pid, signal.SIGINT)
    # Its parent is this process, which has not waited for it: gone is a zombie.
    eventually(PATIENCE, "PostgreSQL stops", lambda: (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z")
    time.sleep(away)
    again = subprocess.Popen(
        command,
        user=owner.st_uid,
        group=owner.st_gid,
        extra_groups=[],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        eventually(PATIENCE, "PostgreSQL answers", lambda: peers.postgresql_answers(database.port))
        yield
    finally:
        again.send_signal(signal.SIGINT)
        again.wait(PATIENCE)
