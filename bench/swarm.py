"""Two thousand agents on one `live` process: what an idle wait holds, how long it takes to tell all, syncs a second.

A real `live` process on PostgreSQL; clients that speak the agents' protocol over sockets of their own, in two
processes. `live` writes its access log as in production; when it gave an answer stands there.

    python bench/swarm.py [--agents 2000] [--wakes 5] [--clients 2] [--syncs 4000] [--at-once 64]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection as ClientPipe
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from gpus.agent.protocol import PROTOCOL
from tests import peers
from tests.systems.people import eventually
from tests.systems.separate import Separate

SETTLE_SECONDS = 3.0
SETTINGS = {"WAIT_SECONDS": "300", "TICKET_SECONDS": "900", "LOG_LEVEL": "INFO"}
# Written by the server's own verbs, so that the hosts are such as an owner would make.
MAKE_HOSTS = """
import sys
from accounts.models import User
from gaas.lib import clock
from gpus import services
from gpus.agent.protocol import PROTOCOL, HostFacts
facts = HostFacts("swarm", "1.0", "Debian 12", 8, 64000, "bubblewrap", ["process"])
account = User.objects.get(email="admin@example.org").personal_account
for number in range({number}):
    _, token = services.register_host(account=account, name=f"swarm-{{number}}", by=None, now=clock.now())
    host, secret = services.join(token=token, facts=facts, protocol=PROTOCOL, now=clock.now())
    print("HOST", secret)
"""


class LiveAlone(Separate):
    """A database and one `live`, which is a whole server; no worker, no beat, nobody else."""

    def open(self) -> None:
        self._sql("CREATE DATABASE {}")
        self.manage("migrate", "--noinput")
        self.make_admin()
        self.start("live")
        self.await_answers(self.live_url, "live")

    def restart(self, **environment: str) -> None:
        self.terminate("live")
        self._commands["live"] = (self._commands["live"][0], environment)
        self.start("live")
        self.await_answers(self.live_url, "live")

    def lines(self) -> list[str]:
        """Read the lines of its log that are whole: the last may still be being written."""
        return (self.folder / "live.log").read_text(errors="replace").rpartition("\n")[0].splitlines()

    def answered(self, begin: int) -> list[datetime]:
        """Read when `live` had given each answer of a wake, from a line of its log on."""
        lines = [json.loads(line) for line in self.lines()[begin:] if '"path": "/api/agent/v1/wait"' in line]
        return [datetime.fromisoformat(line["at"]) for line in lines if line["status"] == 200]

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid('live')}/fd").iterdir()))

    def cpu_seconds(self) -> float:
        spent = Path(f"/proc/{self.pid('live')}/stat").read_text().rpartition(")")[2].split()
        return (int(spent[11]) + int(spent[12])) / os.sysconf("SC_CLK_TCK")

    def rss_kib(self) -> int:
        status = Path(f"/proc/{self.pid('live')}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])


@dataclass
class Agent:
    """Speak for one host."""

    secret: str
    session: str = field(default_factory=lambda: str(uuid4()))
    boot: str = field(default_factory=lambda: str(uuid4()))
    seq: int = 0
    revision: int = 0
    wait_path: str = ""

    def body(self) -> bytes:
        self.seq += 1
        facts = {"hostname": "swarm", "agent_version": "1.0", "os": "Debian 12", "cpu_count": 8, "memory_mib": 64000}
        facts |= {"sandbox": "bubblewrap", "executors": ["process"]}
        clock = datetime.now(UTC).isoformat()
        body = {"protocol": PROTOCOL, "session": self.session, "seq": self.seq, "boot_id": self.boot, "clock": clock}
        return json.dumps({**body, "facts": facts, "gpus": [], "attempts": [], "metrics": []}).encode()


class Connection:
    """Keep one connection and ask one thing at a time on it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, head: str, body: bytes = b"") -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._streams
        writer.write(f"{head}\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = answer.partition("content-length: ")[2].partition("\r\n")[0]
        return int(answer.split()[1]), await reader.readexactly(int(length or 0))

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


async def sync(connection: Connection, agent: Agent) -> None:
    head = f"POST /api/agent/v1/sync HTTP/1.1\r\nAuthorization: Host {agent.secret}\r\nContent-Type: application/json"
    status, answer = await connection.ask(head, agent.body())
    assert status == 200, answer
    told = json.loads(answer)
    agent.revision = told["revision"]
    url = urlsplit(told["wait_url"])
    agent.wait_path = f"{url.path}?{url.query}&ticket={told['ticket']}"


async def sync_all(port: int, agents: list[Agent], count: int, at_once: int) -> float:
    """Sync `count` times in all over `at_once` connections; gives the seconds it took."""
    todo = iter(range(count))

    async def work() -> None:
        connection = Connection(port)
        for number in todo:
            await sync(connection, agents[number % len(agents)])
        connection.close()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return time.perf_counter() - began


@dataclass
class Told:
    """One wake-all: milliseconds from the commit to the last agent told, and to the last answer that `live` wrote."""

    clients: float
    server: float
    cpu: float  # of `live`, with the waits that the agents asked next


async def wait_as(port: int, agents: list[Agent], wakes: int, tell: ClientPipe) -> None:
    """Hold a wait for each of these agents, and tell when the last of them was told, for each wake."""
    told = asyncio.Queue[float]()

    async def wait(agent: Agent) -> None:
        connection = Connection(port)
        while True:
            status, body = await connection.ask(f"GET {agent.wait_path}&revision={agent.revision} HTTP/1.1")
            now = time.perf_counter()
            assert status in (200, 204), body
            if status == 200:
                agent.revision = json.loads(body)["revision"]
                told.put_nowait(now)

    waiting = [asyncio.ensure_future(wait(agent)) for agent in agents]
    for _ in range(wakes):
        tell.send(max([await asyncio.wait_for(told.get(), 120) for _ in agents]))
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def wait_all(house: LiveAlone, agents: list[Agent], wakes: int, clients: int) -> tuple[float, list[Told]]:
    """Hold a wait for each agent, in several processes; gives KiB per wait, and each wake."""
    port = int(urlsplit(house.live_url).port or 0)
    before = house.rss_kib()
    pipes = []
    for number in range(clients):
        ours, theirs = multiprocessing.Pipe()
        share = agents[number::clients]
        multiprocessing.Process(target=_wait_as, args=(port, share, wakes, theirs), daemon=True).start()
        pipes.append(ours)
    eventually(120, "all wait", lambda: house.descriptors() >= len(agents))
    time.sleep(SETTLE_SECONDS)
    each = (house.rss_kib() - before) / len(agents)
    times = []
    for _ in range(wakes):
        spent, read = house.cpu_seconds(), len(house.lines())
        at, began = datetime.now(UTC), bump(house)
        at += timedelta(seconds=began - time.perf_counter()) + (datetime.now(UTC) - at)
        for pipe in pipes:
            assert pipe.poll(120), "not all were told"
        last = max(pipe.recv() for pipe in pipes)
        # Lines are written a moment after the answers, and say when those were given.
        eventually(120, "all lines are written", lambda read=read: len(house.answered(read)) >= len(agents))
        wrote = max(house.answered(read))
        cpu = 1000 * (house.cpu_seconds() - spent)
        times.append(Told(1000 * (last - began), 1000 * (wrote - at).total_seconds(), cpu))
        time.sleep(1)
    return each, times


def _wait_as(port: int, agents: list[Agent], wakes: int, tell: ClientPipe) -> None:
    asyncio.run(wait_as(port, agents, wakes, tell))


def bump(house: LiveAlone) -> float:
    """Raise the revision of all hosts with their wakes, as HostQuerySet.bump does; gives the moment of the commit."""
    with psycopg.connect(house.environment["DATABASE_URL"]) as database:
        database.execute("UPDATE gpus_host SET revision = revision + 1")
        database.execute("SELECT pg_notify('gaas_wake', 'host:' || id || ':' || revision) FROM gpus_host")
        began = time.perf_counter()
        database.commit()
    return began


def run(house: LiveAlone, given: argparse.Namespace) -> None:
    shell = house.manage("shell", "-c", MAKE_HOSTS.format(number=given.agents))
    agents = [Agent(line.split()[1]) for line in shell.splitlines() if line.startswith("HOST ")]
    port = int(urlsplit(house.live_url).port or 0)
    asyncio.run(sync_all(port, agents, len(agents), given.at_once))
    each, times = wait_all(house, agents, given.wakes, given.clients)
    print(f"{len(agents)} idle waits: {each:.1f} KiB each (RSS of the process)")
    for what, told in (("the last answer given", "server"), ("the last agent told", "clients")):
        some = [getattr(one, told) for one in times]
        print(f"wake-all: p50 {median(some):.0f} ms, max {max(some):.0f} ms from the commit to {what}")
    cpu = 1000 * median(one.cpu for one in times) / len(agents)
    print(f"CPU of live: {cpu:.0f} us for each agent's answer, its line in the log and its next wait")
    rates: dict[str, list[float]] = {"200": [], "1": []}
    for most in ("200", "1", "200", "1"):
        house.restart(HEARTBEATS_AT_ONCE=most)
        asyncio.run(sync_all(port, agents, 200, given.at_once))  # warm
        rates[most].append(given.syncs / asyncio.run(sync_all(port, agents, given.syncs, given.at_once)))
    together, alone = max(rates["200"]), max(rates["1"])
    print(f"idle syncs over HTTP: {together:.0f}/s together, {alone:.0f}/s each alone: {together / alone:.2f} x")
    print(house.manage("shell", "-c", WRITES.format(number=min(200, given.agents))).strip().splitlines()[-1])


# The writes alone, without HTTP, JSON and Python around them.
WRITES = """
import time
from datetime import timedelta
from gaas.lib import clock
from gpus.models import Host
from gpus.sql import Beat, write_beats
hosts = list(Host.objects.exclude(session=None)[:{number}])
def beats(step):
    now = clock.now()
    return [Beat(h.pk, h.session, h.boot_id, h.seq + step - 1, h.seq + step, now, now + timedelta(seconds=60), 0.0)
            for h in hosts]
times = {{"together": [], "alone": []}}
step = 0
for _ in range(6):
    step += 1
    some = beats(step); began = time.perf_counter()
    assert len(write_beats(some)) == len(hosts)
    times["together"].append(time.perf_counter() - began)
    step += 1
    some = beats(step); began = time.perf_counter()
    assert all(write_beats([one]) for one in some)
    times["alone"].append(time.perf_counter() - began)
together, alone = (len(hosts) / min(times[name]) for name in ("together", "alone"))
said = f"{{together:.0f}}/s in batches of {{len(hosts)}}, {{alone:.0f}}/s each alone: {{together / alone:.1f}} x"
print("writes of heartbeats:", said)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=2000)
    parser.add_argument("--wakes", type=int, default=5)
    parser.add_argument("--clients", type=int, default=2, help="processes that the agents are spread over")
    parser.add_argument("--syncs", type=int, default=4000)
    parser.add_argument("--at-once", type=int, default=64)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65536)), hard))
    try:
        with (
            peers.postgresql() as server,
            tempfile.TemporaryDirectory(prefix="gaas-bench-") as folder,
            LiveAlone(Path(folder), SETTINGS, server=server.url) as house,
        ):
            try:
                run(house, given)
            except AssertionError:
                print(house.log("live"), file=sys.stderr)
                raise
    except peers.Missing as why:
        print(f"NOT RUN: {why}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
