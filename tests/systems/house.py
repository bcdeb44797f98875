"""A whole platform as real processes on loopback: started, killed by name, started again, and ended without a trace.

`Up` is the one process on SQLite with its agent. `Separate` is web, live, worker, beat and agents of their own on a
PostgreSQL and a broker. Both live in a folder of their own; each process writes `<name>.log` there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import psycopg
from psycopg import sql

from tests.peers import Peer, free_port
from tests.systems.people import Person, eventually
from tests.systems.relay import Relay

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
STOP_SECONDS = 15
ADMIN = "admin@example.org"
PR_SET_PDEATHSIG = 1


def _end_with_the_tests() -> None:
    # However the test run dies, what it started is told to stop.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class House:
    """Keep the processes of one platform. `environment` adds to and overrides what all of them get."""

    servers: tuple[str, ...]
    workers: tuple[str, ...]
    agents: tuple[str, ...]
    broker: Peer | None = None
    wire: Relay | None = None

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = self.live_url = f"http://127.0.0.1:{self.port}"
        self.start_record = folder / "started"
        self.password = secrets.token_urlsafe(12)
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "SECRET_KEY": secrets.token_urlsafe(64),
            "GAAS_HOME": str(folder / "home"),
            "GAAS_START_RECORD": str(self.start_record),
            "BASE_URL": self.url,
            "LIVE_URL": "",
            "DATABASE_DIRECT_URL": "",
            "BROKER_URL": "memory://",
            "CACHE_URL": "locmemcache://house",
            "EMAIL_URL": "dummymail://",
            "ALLOW_SIMULATED": "1",
            "THROTTLE_USER": "100000/min",
            "THROTTLE_REGISTER": "1000/min",
            "LOG_LEVEL": "WARNING",
            **environment,
        }
        (folder / "home").mkdir(parents=True, exist_ok=True)
        self._commands: dict[str, tuple[list[str], dict[str, str]]] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    # -- from the first process to the last

    def __enter__(self) -> Self:
        try:
            self.open()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def open(self) -> None:
        """Start everything and come back when a task could run."""
        raise NotImplementedError

    def end(self) -> list[str]:
        """Stop everything, first by asking; returns what was still there then, which is killed.

        Supervisors and programs are found by this house's folder and its attempts, so nothing else can be meant.
        """
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + STOP_SECONDS
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, until - time.monotonic()))
        stayed = [f"{pid}: {what}" for pid, what in self.processes()]
        while left := list(self.processes()):
            for pid, _ in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for process in self._running.values():
                process.poll()
            time.sleep(0.05)
        return stayed

    # -- one process

    def start(self, name: str) -> None:
        """Start a process, or start it again."""
        command, extra = self._commands[name]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**self.environment, **extra},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_the_tests,
            )

    def kill(self, name: str) -> None:
        """End a process by SIGKILL with the processes that it forked for itself; agents' programs are none of them."""
        process = self._running[name]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def terminate(self, name: str) -> float:
        """Ask a process to stop; returns how many seconds that took."""
        process, began = self._running[name], time.monotonic()
        process.terminate()
        process.wait(STOP_SECONDS)
        return time.monotonic() - began

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def await_answers(self, url: str, name: str) -> None:
        """Wait until a server answers; AssertionError shows the end of its log when it does not."""

        def look() -> bool:
            assert self._running[name].poll() is None, f"{name} ended:\n{self.log(name)}"
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(f"{url}/livez", timeout=5, trust_env=False).is_success
            return False

        eventually(START_SECONDS, f"{name} answers", look)

    def manage(self, *arguments: str, **environment: str) -> str:
        """Run a management command; AssertionError shows what it said when it failed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    # -- what can be seen of it

    def admin(self, *, patient: bool = False) -> Person:
        return Person(self.url, ADMIN, self.password, patient=patient).log_in()

    def make_admin(self) -> None:
        self.manage("createsuperuser", "--noinput", "--email", ADMIN, DJANGO_SUPERUSER_PASSWORD=self.password)

    def log(self, name: str) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / f"{name}.log").read_text(errors="replace")[-4000:]
        return ""

    def starts(self) -> list[list[str]]:
        """Read what the executors wrote outside of the sandbox: [attempt, task, epoch, time] for each program."""
        if not self.start_record.exists():
            return []
        return [line.split() for line in self.start_record.read_text().splitlines()]

    def processes(self) -> Iterator[tuple[int, str]]:
        """Give every living process of this house: pid and command line."""
        marks = [os.fsencode(self.folder), *self._attempt_marks()]
        for pid, line, environ in _all_processes():
            if any(mark in line + environ for mark in marks):
                yield pid, line.replace(b"\0", b" ").decode(errors="replace").strip()

    def programs(self) -> list[tuple[int, str]]:
        """Give what lives of tasks: supervisors, and programs by the attempt in their environment."""
        marks = self._attempt_marks()
        folder = os.fsencode(self.folder)
        return [
            (pid, line.replace(b"\0", b" ").decode(errors="replace").strip())
            for pid, line, environ in _all_processes()
            if (b"gpus.agent.supervisor" in line and folder in line) or any(mark in environ for mark in marks)
        ]

    def _attempt_marks(self) -> list[bytes]:
        return [f"GAAS_ATTEMPT_ID={started[0]}".encode() for started in self.starts()]

    def await_gpus(self, admin: Person, count: int) -> None:
        def look() -> bool:
            return admin.call("GET", "gpus/", params={"availability": "AVAILABLE"})["results"][count - 1 :] != []

        eventually(START_SECONDS, f"{count} GPUs are there", look, each=0.2)


class Up(House):
    """`manage.py up`: everything in one process on SQLite, and the agent that it starts."""

    servers = workers = ("up",)
    agents = ("agent",)

    def __init__(self, folder: Path, environment: dict[str, str], *, gpus: int = 2) -> None:
        super().__init__(folder, {"DATABASE_URL": f"sqlite:///{folder}/home/gaas.sqlite3", **environment})
        self.gpus = gpus
        command = [sys.executable, "manage.py", "up", "--port", str(self.port), "--simulated-gpus", str(gpus)]
        self._commands["up"] = (command, {})

    def open(self) -> None:
        self.start("up")
        self.await_answers(self.url, "up")
        self.make_admin()
        self.await_gpus(self.admin(), self.gpus)

    def start(self, name: str) -> None:
        if name != "agent":  # which `up` starts again by itself
            super().start(name)

    def kill(self, name: str) -> None:
        """End `up` alone, so that its agent finds itself without it, or the agent alone, once there is one."""
        if name == "agent":
            os.kill(eventually(START_SECONDS, "the agent runs", self._agent), signal.SIGKILL)
            return
        process = self._running[name]
        process.kill()
        process.wait()

    def _agent(self) -> int | None:
        return next((pid for pid, line in self.processes() if "-m gpus.agent run" in line), None)


class Separate(House):
    """web, live, worker, beat and agents as processes of their own, in a database made for them and dropped at the end.

    `server` is any database of the PostgreSQL to use. Agents call web for all but their waits, which are live's.
    """

    servers, workers = ("web", "live"), ("worker",)

    def __init__(
        self, folder: Path, environment: dict[str, str], *, server: str, agents: int = 1, gpus: int = 2
    ) -> None:
        self._server, self._database = server, f"gaas_house_{secrets.token_hex(4)}"
        live = free_port()
        ours = {
            "DATABASE_URL": urlsplit(server)._replace(path=f"/{self._database}").geturl(),
            "LIVE_URL": f"http://127.0.0.1:{live}",
        }
        super().__init__(folder, {**ours, **environment})
        self.live_url, self.gpus = ours["LIVE_URL"], gpus
        self.agents = tuple(f"agent-{number}" for number in range(1, agents + 1))
        python = sys.executable
        web = (
            f"-m granian --interface wsgi --host 127.0.0.1 --port {self.port} --workers 1 --blocking-threads 4 --no-ws"
        )
        self._commands = {
            "web": ([python, *web.split(), "gaas.wsgi:application"], {}),
            "live": ([python, "manage.py", "live", "--port", str(live)], {}),
            "worker": ([python, "manage.py", "rundramatiq", "--processes", "1", "--threads", "4"], {}),
            "beat": ([python, "manage.py", "beat"], {}),
        }

    def open(self) -> None:
        self._sql("CREATE DATABASE {}")
        self.manage("migrate", "--noinput")
        self.make_admin()
        for name in self._commands:
            self.start(name)
        self.await_answers(self.url, "web")
        self.await_answers(self.live_url, "live")
        admin = self.admin()
        for name in self.agents:
            self._open_host(admin, name)
        self.await_gpus(admin, self.gpus * len(self.agents))

    def end(self) -> list[str]:
        stayed = super().end()
        self._sql("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        return stayed

    def _open_host(self, admin: Person, name: str) -> None:
        """Add a host, start its agent, and offer its GPUs to everybody."""
        host: dict[str, Any] = admin.call("POST", "hosts/", json={"name": name})
        state, config = self.folder / name, self.folder / f"{name}.toml"
        # What the agent waits after a failure follows the scale of all other timers.
        scale = float(self.environment.get("TIMER_SCALE", "1"))
        config.write_text(f"backoff_base_seconds = {scale}\nbackoff_cap_seconds = {30 * scale}\n")
        command = [sys.executable, "-m", "gpus.agent", "run", "--config", str(config), "--server", self.url]
        command += ["--state", str(state), "--simulated-gpus", str(self.gpus), "--start-record", str(self.start_record)]
        if _no_sandbox():
            command.append("--unsandboxed")
        self._commands[name] = (command, {"GAAS_JOIN_TOKEN": host["join_token"]})
        self.start(name)

        def mine() -> list[dict[str, Any]]:
            return [gpu for gpu in admin.pages("gpus/") if gpu["host"] == host["id"]]

        for gpu in eventually(START_SECONDS, f"{name} reports its GPUs", mine):
            admin.call("PATCH", f"gpus/{gpu['id']}/", json={"visibility": "PUBLIC", "accepts_quota": True})
            admin.call("POST", f"gpus/{gpu['id']}/list/", json={})

    def _sql(self, statement: str) -> None:
        with psycopg.connect(urlsplit(self._server)._replace(path="/postgres").geturl(), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(self._database)))


def _all_processes() -> Iterator[tuple[int, bytes, bytes]]:
    """Give pid, command line and environment of every process but this one, as far as they may be read."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                yield int(entry.name), (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()


def _no_sandbox() -> bool:
    from gpus.agent.executors import bubblewrap

    return bubblewrap.unusable("bwrap") is not None
