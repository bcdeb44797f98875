"""Be several schedulers at once, each of which dies at random lines of code.

Run by test_contract_crash.py as a process of its own, so that it may fork: the database is that of DATABASE_URL. Each
life takes due steps of contracts until it dies, after a random number of lines of this house; after so many deaths
a scheduler lives until nothing is due. Prints one JSON object: where they died, and what then stands in the books.

    python -m payments.tests.tick_runner SCHEDULERS DEATHS NOW
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import django

django.setup()

from django.db import connections  # noqa: E402

from accounts.ledger import check  # noqa: E402
from payments import services  # noqa: E402
from payments.models import Contract, ContractPeriod  # noqa: E402

ROOT = str(Path(__file__).resolve().parents[2])
OURS = tuple(f"{ROOT}/{folder}/" for folder in ("accounts", "payments", "gaas/lib", "gaas/audit", "gaas/outbox"))
DONE = 0
LONGEST_SECONDS = 500


class Killer:
    """End this process, as a power cut would, at one of the next lines of ours."""

    def __init__(self, lines: int, tell: int) -> None:
        self.left, self.tell = lines, tell

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self.line if frame.f_code.co_filename.startswith(OURS) else None

    def line(self, frame: FrameType, event: str, arg: Any) -> Any:
        self.left -= 1
        if self.left <= 0:
            os.write(self.tell, f"{Path(frame.f_code.co_filename).relative_to(ROOT)}\n".encode())
            os._exit(9)
        return self.line


def live(now: datetime, lines: int | None) -> str:
    """Work in a child until nothing is due, or until it dies; give the file in which it did."""
    connections.close_all()
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        if lines is not None:
            sys.settrace(Killer(lines, tell))
        while Contract.objects.due(now=now).exists():
            services.tick_all(now=now)
        sys.settrace(None)
        os._exit(DONE)
    os.close(tell)
    with os.fdopen(hear) as said:
        where = said.read().strip()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != DONE and not where:
        raise RuntimeError(f"A scheduler ended by itself, with {status}.")
    return where


def scheduler(seed: int, deaths: int, now: datetime) -> Counter[str]:
    """Live and die so often, then live to the end; give how often it died in which file."""
    by_lot, died, began = random.Random(seed), Counter[str](), time.monotonic()
    while died.total() < deaths and time.monotonic() - began < LONGEST_SECONDS:
        # From a few lines to some periods.
        where = live(now, int(10 ** by_lot.uniform(0.5, 4)))
        if not where:
            break
        died[where] += 1
    live(now, None)
    return died


def books() -> dict[str, Any]:
    return {
        "periods": sorted(ContractPeriod.objects.values_list("contract__title", "no")),
        "next": sorted(Contract.objects.values_list("next_no", flat=True)),
        "paid": ContractPeriod.objects.filter(status="PAID").count(),
        "wrong": [f"{found.number}: {problem}" for found in check.run() for problem in found.problems],
    }


def main(schedulers: int, deaths: int, now: datetime) -> None:
    connections.close_all()
    ends = []
    for seed in range(schedulers):
        hear, tell = os.pipe()
        if os.fork() == 0:
            try:
                os.write(tell, json.dumps(scheduler(seed, deaths, now)).encode())
            finally:
                os._exit(DONE)
        os.close(tell)
        ends.append(hear)
    died: Counter[str] = Counter()
    for hear in ends:
        with os.fdopen(hear) as said:
            died.update(json.loads(said.read()))
    print(json.dumps({"died": died, **books()}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), datetime.fromisoformat(sys.argv[3]))
