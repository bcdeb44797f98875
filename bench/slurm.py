"""Beside Slurm on the same machine, in one run: from submit to start, and `true` tasks a second from end to end.

Both have as many simulated GPUs, and each task takes one. Here: `up` (SQLite, one process) or the houses of production,
with the process executor; a task is submitted and approved by REST, one after the other. There: `sbatch`, one call
after the other, against a cluster of three nodes with accounting off. There is one machine: each is measured while
the other is not running. A ratio under 1 in the first line and over 1 in the second means that GaaS is quicker.

    python bench/slurm.py [--rounds 15] [--tasks 60] [--gpus 6] [up | redis | rabbitmq]
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import peers
from tests.systems.house import House
from tests.systems.houses import KINDS, lent
from tests.systems.people import TERMINAL, Person, at_its_end, eventually, newcomer
from tests.systems.slurm import NODES, Slurm, cluster

IDLE_SECONDS = 0.5
PATIENCE_SECONDS = 600


@dataclass
class Figures:
    """Seconds from submit to start, and tasks per second."""

    starts: list[float]
    rate: float


def of_gaas(house: House, rounds: int, tasks: int) -> Figures:
    admin, alice = house.admin(), newcomer(house.url, "alice")
    starts = []
    for _ in range(rounds):
        time.sleep(IDLE_SECONDS)
        sent = time.time()
        task = approved(admin, alice)
        at_its_end(alice, task)
        [started] = [float(start[3]) for start in house.starts() if start[1] == task]
        starts.append(started - sent)
    began = time.monotonic()
    wanted = {approved(admin, alice) for _ in range(tasks)}

    def all_ended() -> bool:
        done = {task["id"] for task in alice.pages("tasks/", page_size=100) if task["status"] in TERMINAL}
        return wanted <= done

    eventually(PATIENCE_SECONDS, "the end of all tasks", all_ended, each=0.2)
    return Figures(starts, tasks / (time.monotonic() - began))


def approved(admin: Person, alice: Person) -> str:
    body = {"title": "true", "spec": {"command": ["true"]}, "hours": "0.01"}
    task: str = alice.call("POST", "tasks/", expect=201, json=body)["id"]
    admin.approve(task)
    return task


def of_slurm(slurm: Slurm, rounds: int, tasks: int) -> Figures:
    starts = []
    for number in range(rounds):
        time.sleep(IDLE_SECONDS)
        mark = slurm.shared / f"start-{number}"
        sent = time.time()
        sbatch(slurm, f"date +%s.%N >{mark}.part; mv {mark}.part {mark}")
        eventually(PATIENCE_SECONDS, "the start of a job", mark.exists, each=0.01)
        starts.append(float(mark.read_text()) - sent)
    eventually(PATIENCE_SECONDS, "an empty queue", lambda: is_empty(slurm), each=0.1)
    began = time.monotonic()
    for _ in range(tasks):
        sbatch(slurm, "true")
    eventually(PATIENCE_SECONDS, "the end of all jobs", lambda: is_empty(slurm), each=0.1)
    return Figures(starts, tasks / (time.monotonic() - began))


def sbatch(slurm: Slurm, line: str) -> None:
    options = ["--gres=gpu:1", "--mem=100M", "--time=10", "--output=/dev/null", "--export=NIL", "--chdir=/"]
    slurm.command("sbatch", "--parsable", *options, given=f"#!/bin/sh\n{line}\n")


def is_empty(slurm: Slurm) -> bool:
    return not slurm.command("squeue", "-h").strip()


def report(kind: str, gpus: int, gaas: Figures, slurm: Figures) -> None:
    ours, theirs = 1000 * median(gaas.starts), 1000 * median(slurm.starts)
    print(f"{'':34} {'GaaS':>10} {'Slurm':>10} {'GaaS/Slurm':>11}   ({KINDS[kind]}, {gpus} simulated GPUs each)")
    print(f"{'submit to start, p50, ms':34} {ours:10.0f} {theirs:10.0f} {ours / theirs:11.2f}")
    print(
        f"{'`true` tasks a second, end to end':34} {gaas.rate:10.1f} {slurm.rate:10.1f} {gaas.rate / slurm.rate:11.2f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", nargs="?", default="up", choices=KINDS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tasks", type=int, default=60)
    parser.add_argument("--gpus", type=int, default=6, help="a multiple of three, one third on each node of Slurm")
    given = parser.parse_args()
    if given.gpus < len(NODES) or given.gpus % len(NODES):
        parser.error("--gpus: a multiple of three")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a bench that is told to stop ends its peers
    try:
        with cluster(gpus=given.gpus // len(NODES), slurmd=300) as slurm:
            theirs = of_slurm(slurm, given.rounds, given.tasks)
        with (
            tempfile.TemporaryDirectory(prefix="gaas-bench-") as folder,
            lent(given.kind, Path(folder), {"WELCOME_HOURS": "100"}, gpus=given.gpus) as house,
        ):
            ours = of_gaas(house, given.rounds, given.tasks)
    except peers.Missing as why:
        print(f"NOT RUN: {why}")
        return 0
    report(given.kind, given.gpus, ours, theirs)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
