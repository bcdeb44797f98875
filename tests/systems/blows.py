"""Who is struck and how: kills by lot, wires that are cut for a while, hosts that stay away."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.systems.house import House
from tests.systems.houses import flush
from tests.systems.separate import Separate

KILLS = ("server", "worker", "agent", "supervisor", "program", "agent and supervisor")
# Out of touch for less than the grace, and for more: behind a wire that is cut, or dead.
OUTAGES = ("short cut", "long cut", "long death")
MOST_AWAY = 3
VICTIM_SECONDS = 5


class Blows:
    """Strike a house, and bring back later whom it took away: after `short` or `long` seconds."""

    def __init__(self, house: House, by_lot: random.Random, *, short: float, long: float) -> None:
        self.house, self.by_lot, self.short, self.long = house, by_lot, short, long
        self.kinds = (
            (*KILLS, *OUTAGES, "short cut", "program", "server")
            if isinstance(house, Separate) and house.fronts
            else KILLS
        )
        self.done: Counter[str] = Counter()
        self._away: dict[str, tuple[float, Callable[[], None]]] = {}

    def strike(self, kind: str, attempt: str = "") -> None:
        """Do it to somebody; an outage to the host on which this attempt runs, if it is not away already."""
        if kind == "server":
            victim = self._restart(self.by_lot.choice(self.house.servers))
        elif kind == "worker":
            victim = self._restart(self.by_lot.choice(self.house.workers))
        elif kind in ("agent", "agent and supervisor"):
            victim = self._restart(self._host(), *([self._kill_supervisor] if kind != "agent" else []))
        elif kind == "supervisor":
            victim = self._kill(self._await(self.house.supervisors))
        elif kind == "program":
            victim = self._kill(self._await(self._programs))
        elif kind == "all messages":
            victim = "the broker"
            flush(self.house)
        else:
            victim = self._take_away(kind, attempt)
        self.done[kind] += victim != ""
        print(f"{time.strftime('%X')} {kind}: {victim or 'nobody there'}", flush=True)

    def sleep(self, seconds: float) -> None:
        """Let time pass, and bring back those whose time has come."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.1)
            for host, (due, bring_back) in list(self._away.items()):
                if time.monotonic() >= due:
                    del self._away[host]
                    bring_back()
                    print(f"{time.strftime('%X')} {host} is back", flush=True)

    def wait_for_all(self, at_most: int = 0) -> None:
        """Wait until no more hosts than that are away."""
        while len(self._away) > at_most:
            self.sleep(0.2)

    def _host(self) -> str:
        return self.by_lot.choice([agent for agent in self.house.agents if agent not in self._away])

    def _restart(self, victim: str, *meanwhile: Callable[[], str]) -> str:
        self.house.kill(victim)
        for also in meanwhile:
            also()
        self.sleep(self.by_lot.uniform(0, 1))
        self.house.start(victim)
        if victim == self.house.servers[0]:
            self.house.await_answers(self.house.url, victim)
        return victim

    def _take_away(self, kind: str, attempt: str) -> str:
        assert isinstance(self.house, Separate)
        self.wait_for_all(MOST_AWAY)
        host = self.house.host_of(attempt)
        if host is None or host in self._away:
            host = self._host()
        bring_back: Callable[[], None]
        if kind == "long death":
            self.house.kill(host)
            bring_back = lambda: self.house.start(host)  # noqa: E731
        else:
            self.house.fronts[host].cut()
            bring_back = self.house.fronts[host].mend
        seconds = self.short if kind == "short cut" else self.long
        self._away[host] = (time.monotonic() + seconds, bring_back)
        return f"{host} for {seconds:g} s"

    def _kill_supervisor(self) -> str:
        return self._kill(self.house.supervisors())

    def _programs(self) -> list[int]:
        return [pid for pid, line in self.house.programs() if "gpus.agent.supervisor" not in line]

    def _await(self, look: Callable[[], list[int]]) -> list[int]:
        """Wait a little for somebody to strike."""
        until = time.monotonic() + VICTIM_SECONDS
        while not (pids := look()) and time.monotonic() < until:
            self.sleep(0.1)
        return pids

    def _kill(self, pids: list[int]) -> str:
        """Kill one of these; gives its command, nothing where none was left."""
        with contextlib.suppress(OSError, IndexError):
            pid = self.by_lot.choice(pids)
            line = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
            os.kill(pid, signal.SIGKILL)
            return f"{pid} {line[-60:]}"
        return ""
