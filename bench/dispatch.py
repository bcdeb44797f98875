"""From approval to the agent on an idle system: what a dispatch takes, and how that compares to a sync period.

Real processes on loopback, defaults of every timer: `up` on SQLite, and separate processes on PostgreSQL and Redis. A
round approves one task by REST and watches the agent's state directory. Times count from the moment the approval was
sent: until it was answered, until the agent had the attempt on its disk, until the program was started.

    python bench/dispatch.py [--rounds 30] [up] [redis] [rabbitmq]
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import peers
from tests.systems.house import House
from tests.systems.houses import KINDS, lent
from tests.systems.people import Person, at_its_end, newcomer

SYNC_SECONDS = 30  # SYNC_IDLE_SECONDS: what it would take at the most if nobody woke the agent
LOOK_SECONDS = 0.001
IDLE_SECONDS = 0.5


@dataclass
class Round:
    """Milliseconds since the approval was sent."""

    answered: float
    assigned: float
    started: float


def rounds(house: House, number: int) -> Iterator[Round]:
    admin, alice = house.admin(), newcomer(house.url, "alice")
    [attempts] = house.folder.glob("**/attempts")
    for _ in range(number):
        task = alice.submit("sleep 0.2", hours="0.01")
        time.sleep(IDLE_SECONDS)
        yield one_round(house, admin, alice, attempts, task["id"])


def one_round(house: House, admin: Person, alice: Person, attempts: Path, task_id: str) -> Round:
    # Both ends are in the answer and on the disk as wall-clock moments of this one machine.
    sent = time.time()
    admin.approve(task_id)
    answered = time.time()
    while not (there := [folder for folder in attempts.iterdir() if not folder.name.startswith(".")]):
        time.sleep(LOOK_SECONDS)
    assigned = (there[0] / "assignment.json").stat().st_mtime
    at_its_end(alice, task_id)
    [started] = [float(start[3]) for start in house.starts() if start[1] == task_id]
    return Round(*(1000 * (moment - sent) for moment in (answered, assigned, started)))


def report(kind: str, measured: list[Round]) -> None:
    for what, name in (
        ("answered", "approval answered"),
        ("assigned", "agent has the attempt"),
        ("started", "program started"),
    ):
        times = [getattr(one, what) for one in measured]
        p50, most = median(times), max(times)
        print(
            f"{KINDS[kind]:24} {name:22} {p50:8.1f} {most:8.1f} {p50 / (SYNC_SECONDS * 1000):11.5f}",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; default: up redis")
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    if unknown := set(given.kinds) - set(KINDS):
        parser.error(f"unknown: {', '.join(unknown)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a bench that is told to stop ends its house
    print(f"{'':24} {'ms since approving':22} {'p50':>8} {'max':>8} {'p50/period':>11}", flush=True)
    for kind in given.kinds or ["up", "redis"]:
        try:
            with tempfile.TemporaryDirectory(prefix="gaas-bench-") as folder, lent(kind, Path(folder), gpus=1) as house:
                report(kind, list(rounds(house, given.rounds)))
        except peers.Missing as why:
            print(f"{KINDS[kind]:24} NOT RUN: {why}")
    print(f"A period is SYNC_IDLE_SECONDS = {SYNC_SECONDS} s.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
