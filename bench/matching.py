"""One pass of the matcher over a big house, beside what it could be at the least: the same choice as SQL alone.

PostgreSQL (found or started), a database of its own that is dropped at the end. So many GPUs in eight classes, eight
of them on a host, all free; so many tasks of a thousand accounts wait, each for one GPU of a class by its model. Each
row is one pass on the same rows: reading the free GPUs and the queue, placing, writing attempts, telling why the rest
waits. Beside it the peer: a table of tasks and one of GPUs of a few columns, and one function in the database that
pairs them by class, priority and age with arrays between its steps. It knows no accounts, prices, visibility, labels,
gangs, reasons, events or holds; it is the floor, not a rival.

    python bench/matching.py [--gpus 10000] [--tasks 100000]
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import peers

CLASSES, ACCOUNTS, PER_HOST = 8, 1000, 8

PEER_SCHEMA = """
create table peer_task (id bigint primary key, class_id int not null, priority int not null,
  status varchar(10) not null, started_at timestamptz, title text not null) with (fillfactor=80);
create table peer_gpu (id int primary key, class_id int not null, state varchar(8) not null, task_id bigint)
  with (fillfactor=50);
create table peer_assignment (id bigint generated always as identity primary key, task_id bigint not null,
  gpu_id int not null, created_at timestamptz default now());
create or replace function peer_pass() returns int language plpgsql as $$
declare c int; g int[]; t bigint[]; n int; total int := 0;
begin
 for c, g in select class_id, array_agg(id order by id) from
     (select id, class_id from peer_gpu where state = 'free' for update skip locked) f group by class_id loop
  select array_agg(id) into t from (select id from peer_task where status = 'pending' and class_id = c
     order by priority desc, id limit cardinality(g) for update skip locked) x;
  n := coalesce(cardinality(t), 0); continue when n = 0; total := total + n;
  update peer_task set status = 'assigned', started_at = now() where id = any(t);
  update peer_gpu set state = 'busy', task_id = p.t from unnest(g[1:n], t) p(g, t) where peer_gpu.id = p.g;
  insert into peer_assignment(task_id, gpu_id) select p.t, p.g from unnest(g[1:n], t) p(g, t);
 end loop; return total;
end $$ set jit = off;
"""


@contextmanager
def database() -> Iterator[None]:
    """Lend an empty database to Django, and drop it."""
    import psycopg
    from psycopg import sql

    with peers.postgresql() as peer:
        name = f"gaas_bench_{secrets.token_hex(4)}"
        server = urlsplit(peer.url)._replace(path="/postgres").geturl()

        def run(statement: str) -> None:
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute(sql.SQL(statement).format(sql.Identifier(name)))

        run("CREATE DATABASE {}")
        try:
            os.environ |= {
                "DATABASE_URL": urlsplit(peer.url)._replace(path=f"/{name}").geturl(),
                "DATABASE_DIRECT_URL": "",
                "SECRET_KEY": secrets.token_urlsafe(64),
                "BROKER_URL": "memory://",
                "LOG_LEVEL": "WARNING",
                "DJANGO_SETTINGS_MODULE": "gaas.settings",
            }
            yield
        finally:
            run("DROP DATABASE IF EXISTS {} WITH (FORCE)")


def fill(gpus: int, tasks: int) -> None:
    """Write the house in bulk: accounts by their verb, the rest by rows, since no verb makes 100 000 at once."""
    from datetime import timedelta

    from accounts.ledger.models import Hold
    from accounts.models import Account, User
    from accounts.services import hours_balance
    from gaas.lib import clock
    from gaas.lib.ids import uuid7
    from gpus.models import GPU, Host
    from tasks.choices import TaskStatus
    from tasks.models import Task

    now = clock.now()
    olga = User.objects.create_user(email="olga@example.org", password=None)
    users = [User.objects.create_user(email=f"u{number}@example.org", password=None) for number in range(ACCOUNTS)]
    owner: Account = olga.personal_account
    hosts = [
        Host(
            account=owner,
            name=f"host {number}",
            status="ACTIVE",
            executors=["process"],
            last_sync_at=now,
            lease_expires_at=now + timedelta(days=1),
        )
        for number in range((gpus + PER_HOST - 1) // PER_HOST)
    ]
    Host.objects.bulk_create(hosts, batch_size=2000)
    GPU.objects.bulk_create(
        (
            GPU(
                host=hosts[number // PER_HOST],
                uuid=f"GPU-{number}",
                index=number % PER_HOST,
                model=f"class {1 + number // PER_HOST % CLASSES}",
                vram_mib=80_000,
                last_seen_at=now,
                status="LISTED",
                first_listed_at=now,
                visibility="PUBLIC",
                accepts_quota=True,
            )
            for number in range(gpus)
        ),
        batch_size=2000,
    )
    places = {user.pk: user.personal_account for user in users}
    balances = {account.pk: hours_balance(account) for account in places.values()}

    def batch(first: int, last: int) -> None:
        holds, rows = [], []
        for number in range(first, last):
            user = users[number % ACCOUNTS]
            account = places[user.pk]
            hold = Hold(
                id=uuid7(),
                key=f"bench:{number}",
                balance=balances[account.pk],
                opened_with=1000,
                amount=1000,
                purpose="task",
            )
            holds.append(hold)
            rows.append(
                Task(
                    title=f"train {number}",
                    kind="script",
                    spec={"command": ["true"]},
                    executor="process",
                    account=account,
                    payer=account,
                    submitted_by=user,
                    hold=hold,
                    funding="quota",
                    gpus=1,
                    limit_ms=1000,
                    status=TaskStatus.APPROVED,
                    priority=number * 13 % 11,
                    gpu_model=f"class {1 + number * 7 % CLASSES}",
                )
            )
        Hold.objects.bulk_create(holds)
        Task.objects.bulk_create(rows)

    for first in range(0, tasks, 2000):
        batch(first, min(tasks, first + 2000))


def peer(gpus: int, tasks: int) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(PEER_SCHEMA)
        cursor.execute(
            "insert into peer_task select i, 1 + i * 7 %% %s, i * 13 %% 11, 'pending', null, 'train ' || i"
            " from generate_series(1, %s) i",
            [CLASSES, tasks],
        )
        cursor.execute(
            "insert into peer_gpu select i, 1 + i %% %s, 'free', null from generate_series(1, %s) i", [CLASSES, gpus]
        )
        cursor.execute("create index on peer_task (class_id, priority desc, id) where status = 'pending'")
        cursor.execute("create index on peer_gpu (class_id, id) where state = 'free'")


def timed(what: str, act: Callable[[], object], *, best_of: int = 1) -> float:
    spent = []
    for _ in range(best_of):
        began = time.perf_counter()
        done = act()
        spent.append(1000 * (time.perf_counter() - began))
    print(f"{what:52} {min(spent):9.0f} ms  {done}", flush=True)
    return min(spent)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=10_000)
    parser.add_argument("--tasks", type=int, default=100_000)
    given = parser.parse_args()
    try:
        with database():
            measure(given.gpus, given.tasks)
    except peers.Missing as why:
        print(f"NOT RUN: {why}")
    return 0


def measure(gpus: int, tasks: int) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", "--noinput", verbosity=0)
    from gaas.lib import clock
    from gpus.models import GPU
    from tasks import services
    from tasks.services.field import slots

    with connection.cursor() as cursor:
        cursor.execute("set synchronous_commit = off")  # a house of rows; passes are measured as they are
    timed(f"made {gpus} GPUs and {tasks} waiting tasks", lambda: fill(gpus, tasks))
    peer(gpus, tasks)
    with connection.cursor() as cursor:
        cursor.execute("vacuum analyze")
        cursor.execute("set synchronous_commit = on")
    now = clock.now()
    plain = timed(
        "read the free GPUs, as plain values", lambda: len(slots(GPU.objects.free(now=now), now=now)), best_of=3
    )
    objects = timed(
        "read the free GPUs, as objects with host and account",
        lambda: len(list(GPU.objects.free(now=now))),
        best_of=3,
    )
    print(f"{'':52} {plain / objects:9.2f} of that")

    def peer_pass() -> int:
        with connection.cursor() as cursor:
            cursor.execute("select peer_pass()")
            return cursor.fetchone()[0]

    floor = timed("the peer: one pass in the database, pairs", peer_pass)
    all_free = timed("ours: a pass with every GPU free, offers", services.schedule)
    busy = timed("ours: a pass with no GPU free, offers", services.schedule)
    print(f"{'all free: ours / the peer':52} {all_free / floor:9.1f}")
    print(f"{'all busy: ours / all free':52} {busy / all_free:9.2f}")


if __name__ == "__main__":
    raise SystemExit(main())
