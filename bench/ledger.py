"""Hold and capture, pair after pair: how many a second, what a pair costs the client, beside pgbench with the same SQL.

PostgreSQL (found or started), a database of its own that is dropped at the end. A pair is what a task with an end does
to the books: a hold on the payer's wallet, then a final capture with two legs, one to an owner's earnings and one to
the platform's fees; each of the two is a transaction of its own, durable as far as the server is set up to. `spread`
draws one of many payers for each pair, `hot` has one pay for all. Clients are threads in processes, the same number of
connections as pgbench's; CPU is what the client's processes used, in user and kernel mode, for each pair.

The rounds take turns (ours, pgbench, spread, hot), so that a busy machine is as busy for one as for the other; trust
the ratios of a run, and of the figures CPU a pair more than pairs a second.

    python bench/ledger.py [--seconds 5] [--rounds 3] [--clients 8]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.matching import database
from tests import peers

HERE = Path(__file__).resolve()
PAYERS, OWNERS, PROCESSES = 1000, 30, 2
PLENTY = 10**15
EARNED, FEE = 900, 100

SETUP = """
create table bench_payer (n int primary key, id uuid not null);
create table bench_owner (n int primary key, id uuid not null);
"""
# As sql.py sends it, with ids and keys made out of a number, since pgbench has no others.
PAIR = """
\\set p {payer}
\\set o random(1, {owners})
\\set n random(1, 4611686018427387904)
select ledger_hold(md5(:n::text)::uuid, (select id from bench_payer where n = :p::int), 2000, 'task:' || :n::text,
  'task', :n::text, '', null::timestamptz, now());
select * from ledger_capture(md5(:n::text)::uuid, jsonb_build_array(
  jsonb_build_object('id', md5('1' || :n::text)::uuid, 'key', 'task:' || :n::text || '-owner', 'kind', 'earning',
    'credit', (select id from bench_owner where n = :o::int), 'amount', {earned}, 'ref', :n::text, 'memo', ''),
  jsonb_build_object('id', md5('2' || :n::text)::uuid, 'key', 'task:' || :n::text || '-fee', 'kind', 'fee',
    'credit', '{fees}'::uuid, 'amount', {fee}, 'ref', :n::text, 'memo', '')), true, 'task:' || :n::text);
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--worker", choices=["spread", "hot"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.worker, given.seconds, given.clients)
        return 0
    try:
        with database():
            measure(given.seconds, given.rounds, given.clients)
    except peers.Missing as why:
        print(f"NOT RUN: {why}")
    return 0


def work(where: str, seconds: float, threads: int) -> None:
    """Make pairs until the time is over, on a connection for each thread; print what that took."""
    import django

    os.environ["DATABASE_POOL"] = "0"
    django.setup()
    import random

    from django.db import connection

    from accounts.ledger.models import Balance
    from accounts.ledger.services import Leg, capture, hold
    from gaas.lib.ids import uuid7

    wallets = list(Balance.objects.filter(kind="wallet").order_by("pk"))
    owners = list(Balance.objects.filter(kind="earnings_pending").order_by("pk"))
    fees = Balance.objects.get(kind="fees")
    payers = wallets[:1] if where == "hot" else wallets
    connection.close()
    done = [0] * threads
    gate = threading.Barrier(threads + 1)
    over = threading.Event()

    def go(number: int) -> None:
        draw = random.Random(number)
        connection.ensure_connection()
        gate.wait()
        while not over.is_set():
            task = str(uuid7())
            held = hold(
                balance=draw.choice(payers), amount=2000, key=f"task:{task}", purpose="task", ref=task, spender=""
            )
            legs = [
                Leg(
                    credit=draw.choice(owners),
                    amount=EARNED,
                    kind="earning",
                    key=f"task:{task}:owner",
                    ref=task,
                ),
                Leg(credit=fees, amount=FEE, kind="fee", key=f"task:{task}:fee", ref=task),
            ]
            capture(hold_id=held.pk, legs=legs, final=True, actor=f"task:{task}")
            done[number] += 1
        connection.close()

    running = [threading.Thread(target=go, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    gate.wait()
    began, cpu = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    over.set()
    for thread in running:
        thread.join()
    spent = {"pairs": sum(done), "cpu": time.process_time() - cpu, "wall": time.perf_counter() - began}
    print(json.dumps(spent))


def ours(where: str, seconds: float, clients: int) -> tuple[float, float]:
    """Give pairs a second and milliseconds of client CPU a pair."""
    command = [sys.executable, str(HERE), "--worker", where, "--seconds", str(seconds)]
    command += ["--clients", str(max(1, clients // PROCESSES))]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    told = [json.loads(process.communicate()[0]) for process in running]
    pairs = sum(part["pairs"] for part in told)
    return pairs / max(part["wall"] for part in told), 1000 * sum(part["cpu"] for part in told) / pairs


def pgbench(where: str, seconds: float, clients: int, fees: str) -> tuple[float, float]:
    """Give the same of pgbench."""
    script = PAIR.format(
        payer=1 if where == "hot" else f"random(1, {PAYERS})", owners=OWNERS, fees=fees, earned=EARNED, fee=FEE
    )
    url = urlsplit(os.environ["DATABASE_URL"])
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        command = [shutil.which("pgbench") or "pgbench", "-n", "-M", "prepared", "-T", str(max(1, round(seconds)))]
        command += ["-c", str(clients), "-j", str(PROCESSES), "-f", file.name, "-h", url.hostname or ""]
        command += ["-p", str(url.port or 5432), "-U", url.username or "postgres", url.path[1:]]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if told.returncode:
        raise SystemExit(told.stderr[-2000:])
    figures = {line.split(" = ")[0].split(":")[0]: line for line in told.stdout.splitlines()}
    pairs = int(figures["number of transactions actually processed"].split(":")[1].split("/")[0])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return float(figures["tps"].split(" = ")[1].split()[0]), 1000 * cpu / pairs


def measure(seconds: float, rounds: int, clients: int) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", "--noinput", verbosity=0)
    from accounts.ledger import check
    from accounts.ledger.services import open_balance, platform_balance, transfer

    source = platform_balance(asset="USD", kind="clearing:bench")
    fees = platform_balance(asset="USD", kind="fees")
    rows = {"payer": [], "owner": []}
    for number in range(1, PAYERS + 1):
        wallet = open_balance(asset="USD", kind="wallet", owner_key=f"acct:payer-{number:04}")
        transfer(key=f"bench:{number}", kind="topup", debit=source, credit=wallet, amount=PLENTY)
        rows["payer"].append((number, wallet.pk))
    for number in range(1, OWNERS + 1):
        earnings = open_balance(asset="USD", kind="earnings_pending", owner_key=f"acct:owner-{number:04}")
        rows["owner"].append((number, earnings.pk))
    with connection.cursor() as cursor:
        cursor.execute(SETUP)
        for name, values in rows.items():
            cursor.executemany(f"insert into bench_{name} values (%s, %s)", values)
        cursor.execute("vacuum analyze")
        cursor.execute("select name || ' ' || setting from pg_settings where name in ('fsync', 'synchronous_commit')")
        durable = ", ".join(row[0] for row in cursor.fetchall())
    connection.close()
    print(f"PostgreSQL with {durable}; {clients} connections, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for where in ("spread", "hot"):
            found.setdefault(("ours", where), []).append(ours(where, seconds, clients))
            found.setdefault(("pgbench", where), []).append(pgbench(where, seconds, clients, str(fees.pk)))
    middle = {
        name: (statistics.median(rate for rate, _ in each), statistics.median(cpu for _, cpu in each))
        for name, each in found.items()
    }
    print(f"{'':10}{'':8}{'pairs/s':>10}{'client CPU ms/pair':>22}")
    for (who, where), (rate, cpu) in middle.items():
        print(f"{who:10}{where:8}{rate:10.0f}{cpu:22.3f}")
    for where in ("spread", "hot"):
        print(f"ours / pgbench, {where:7}: {middle['ours', where][0] / middle['pgbench', where][0]:.2f} of its pairs")
    for who in ("ours", "pgbench"):
        print(f"hot / spread, {who:8}: {middle[who, 'hot'][0] / middle[who, 'spread'][0]:.2f}  (goal 0.5)")
    print(f"client CPU of a pair, ours, spread: {middle['ours', 'spread'][1]:.2f} ms  (goal 0.5)")
    broken = [problem for result in check.run(only=(1, 2, 3, 4, 5, 6, 14)) for problem in result.problems]
    print(f"the books afterwards: {'sound' if not broken else broken[:3]}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    raise SystemExit(main())
