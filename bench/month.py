"""A month of simulated use, by the real verbs with the clock moved, on SQLite and on PostgreSQL; then the books.

200 accounts, 30 owners with four GPUs each, 20 000 tasks, payments by hand and by a made-up card, refunds, disputes,
allowances, payouts (bench/month_life.py says how). The wall clock of this process and of a PostgreSQL of its own runs
ahead by a library put before the C library's clock, so that what the database stamps is of that month too. After 2 000,
5 000, 10 000 and all 20 000 tasks the whole check of the books is timed, and its growth is told beside the rows'.

At the end: every invariant holds, owner's part and fee make each charge, nothing of a task is held, and the product's
own statements of each account, each owner and the platform are those of the transfers to the last unit, in CSV, page
and document alike (bench/month_statements.py). One more month is cut after it, in which what was earned late matures.

    python bench/month.py [--accounts 200] [--owners 30] [--tasks 20000] [sqlite] [postgresql]
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import peers
from tests.systems import other_time

ENGINES = ("sqlite", "postgresql")
# At which parts of the month the check is timed: of 20 000 tasks after 2 000, 5 000, 10 000 and all.
MARKS = (0.1, 0.25, 0.5, 1.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", metavar="ENGINE", help="of: sqlite postgresql; both by default")
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--owners", type=int, default=30)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--live", metavar="FILE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.live:
        return live(given.accounts, given.owners, given.tasks, other_time.OtherTime(Path(given.live), Path()))
    sizes = ["--accounts", str(given.accounts), "--owners", str(given.owners), "--tasks", str(given.tasks)]
    ends = []
    for engine in given.engines or ENGINES:
        try:
            ends.append(on(engine, sizes))
        except peers.Missing as why:
            print(f"NOT RUN on {engine}: {why}")
    return max(ends, default=0)


def on(engine: str, sizes: list[str]) -> int:
    """Run the month in a process of its own, whose clock and whose database's clock can be moved."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gaas-month-")))
        folder.chmod(0o755)  # the database's user reads the clock too
        clock = other_time.OtherTime(folder / "clock", other_time.build(folder))
        environment = {
            "GAAS_HOME": str(folder),
            "SECRET_KEY": secrets.token_urlsafe(64),
            "BROKER_URL": "memory://",
            "LOG_LEVEL": "ERROR",
            "ENV_FILE": os.devnull,
            "DATABASE_DIRECT_URL": "",
            "DATABASE_POOL": "0",
            "EMAIL_URL": "dummymail://",
            "DJANGO_SETTINGS_MODULE": "gaas.settings",
            "DATABASE_URL": f"sqlite:///{folder / 'month.sqlite3'}",
        }
        if engine == "postgresql":
            os.environ |= clock.environment
            stack.callback(lambda: [os.environ.pop(name) for name in clock.environment])
            peer = stack.enter_context(peers.postgresql(own=True))
            with psycopg_of(peer.url) as connection:
                connection.execute("CREATE DATABASE month")
            environment["DATABASE_URL"] = urlsplit(peer.url)._replace(path="/month").geturl()
        command = [sys.executable, __file__, "--live", str(folder / "clock"), *sizes]
        return subprocess.run(command, env={**os.environ, **environment, **clock.environment}, check=False).returncode


def psycopg_of(url: str):
    import psycopg

    return psycopg.connect(urlsplit(url)._replace(path="/postgres").geturl(), autocommit=True)


def live(accounts: int, owners: int, tasks: int, moved: other_time.OtherTime) -> int:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", "--noinput", verbosity=0)
    from accounts.ledger import check
    from accounts.ledger.models import Hold, Transfer
    from bench.month_life import Month
    from bench.month_statements import faults_of_statements, reads_documents
    from gaas.lib import clock
    from payments.models import Charge, Statement
    from payments.services import statements
    from tasks.models import Task

    ahead = 0.0

    def wait(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds
        moved.jump(int(ahead))

    print(f"== {connection.vendor}: {accounts} accounts, {owners} owners, {tasks} tasks; load {os.getloadavg()[0]:.1f}")
    began, cpu = time.monotonic(), time.process_time()
    # From the first of a month on, so that the books of that month have all of it.
    wait((first_of_next(clock.now()) - clock.now()).total_seconds() + 60)
    month = Month(accounts=accounts, owners=owners, tasks=tasks, now=clock.now, wait=wait)
    marks: list[tuple[int, float]] = []
    results: list[check.Result] = []

    def told(part: float) -> None:
        if len(marks) < len(MARKS) and part >= MARKS[len(marks)]:
            before = time.process_time()
            results[:] = check.run()
            busy = time.process_time() - before
            marks.append((Transfer.objects.count(), sum(result.seconds for result in results)))
            print(
                f"{Task.objects.count():6} tasks, {marks[-1][0]:6} transfers: check {marks[-1][1]:6.2f} s, "
                f"{busy:5.2f} of CPU here; "
                f"{time.process_time() - cpu:5.0f} s of CPU and {time.monotonic() - began:5.0f} s in all",
                flush=True,
            )

    month.live(told)
    faults = [
        f"{key} is held still" for key in Hold.objects.open().filter(purpose="task").values_list("key", flat=True)
    ]
    print(f"the month took {time.monotonic() - began:.0f} s: {dict(sorted(month.did.items()))}")
    for result in sorted(results, key=lambda result: -result.seconds)[:5]:
        print(f"  invariant {result.number:2}: {result.seconds:6.2f} s  {result.title}")
    growth = (marks[-1][1] / marks[0][1]) / (marks[-1][0] / marks[0][0])
    print(f"growth of the check : growth of the transfers, last to first: {growth:.2f} (1 is linear)")
    # The books of the month, and those of the next, in which what was earned late matures and is paid out.
    for _ in range(2):
        wait((first_of_next(clock.now()) - clock.now()).total_seconds() + 60)
        at = time.perf_counter()
        made = statements.make_due()
        print(
            f"statements of {made} month: {Statement.objects.count()} by now, {time.perf_counter() - at:.1f} s",
            flush=True,
        )
        month.money_of_a_day()
    faults += [f"{result.number}: {problem}" for result in check.run() for problem in result.problems]
    faults += [
        f"charge {row.pk}: {row.fee} + {row.owner_part} is not {row.charge}"
        for row in Charge.objects.iterator()
        if row.fee + row.owner_part != row.charge
    ]
    faults += do_not_add_up()
    if not reads_documents():
        print("NOT RUN: no pdftotext on this machine, so that no document was read")
    at = time.perf_counter()
    faults += faults_of_statements(month.root, documents=reads_documents())
    print(f"statements compared with transfers, CSV, pages and documents in {time.perf_counter() - at:.0f} s")
    print("everything adds up" if not faults else "\n".join(faults[:20]))
    return bool(faults)


def first_of_next(moment: datetime) -> datetime:
    return (moment.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def do_not_add_up() -> list[str]:
    """Add up each stored balance from its transfers alone, one after the other as a statement does."""
    from accounts.ledger.models import Balance, Transfer

    ends: dict[object, int] = {}
    for debit, credit, amount in Transfer.objects.order_by("pk").values_list("debit_id", "credit_id", "amount"):
        ends[debit] = ends.get(debit, 0) - amount
        ends[credit] = ends.get(credit, 0) + amount
    return [
        f"{balance} has {balance.posted}, its transfers come to {ends.get(balance.pk, 0)}"
        for balance in Balance.objects.stored()
        if balance.posted != ends.get(balance.pk, 0)
    ]


if __name__ == "__main__":
    raise SystemExit(main())
