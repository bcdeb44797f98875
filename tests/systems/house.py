"""A whole platform as real processes on loopback: started, killed by name, started again, and ended without a trace.

`Up` is the one process on SQLite with its agent; for processes of their own see separate.py. A house lives in a folder
of its own; each process writes `<name>.log` there.
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
from typing import Self

import httpx

from tests.peers import Peer, free_port
from tests.systems.people import Person, eventually
from tests.systems.relay import Relay

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 180
STOP_SECONDS = 60
# How long what helps a process, as multiprocessing has something do, may take to notice that it is gone.
LINGER_SECONDS = 5
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

    def __init__(self, folder: Path, environment: dict[str, str], *, address: str = "127.0.0.1") -> None:
        self.folder = folder
        self.port = free_port()
        self.url = self.live_url = f"http://{address}:{self.port}"
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
        """Stop everything, first by asking; returns what was still there some seconds later, which is killed.

        Supervisors and programs are found by this house's folder and its attempts, so nothing else can be meant.
        """
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + STOP_SECONDS
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, until - time.monotonic()))
        until = time.monotonic() + LINGER_SECONDS
        # What belongs to tasks does not end by itself.
        while set(self.processes()) - set(self.programs()) and time.monotonic() < until:
            time.sleep(0.05)
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

    def supervisors(self) -> list[int]:
        return [pid for pid, line in self.programs() if "gpus.agent.supervisor" in line]

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


def _all_processes() -> Iterator[tuple[int, bytes, bytes]]:
    """Give pid, command line and environment of every process but this one, as far as they may be read."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                yield int(entry.name), (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
