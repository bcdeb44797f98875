"""A host under test: the real agent in a process of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from gpus.agent import cgroups, durable
from gpus.agent.attempt import Attempt

from .peer import TOKEN, Peer, Work

ROOT = Path(__file__).resolve().parents[3]
_marks = itertools.count(int(time.time() * 1000) % 10**7 * 100)
# What a script waits by in its work folder until the test lets it go on: no sleep is long enough on a busy machine.
GATE = "until [ -e go ]; do sleep 0.05; done"


def mark() -> str:
    """Give a number of seconds that names one `sleep` among all processes of this machine."""
    return f"1{os.getpid():07}{next(_marks):09}"


def how_many_run(mark: str) -> int:
    return sum(
        (process.info["cmdline"] or [])[:1] == ["sleep"]
        and mark in process.info["cmdline"]
        and process.info["status"] != psutil.STATUS_ZOMBIE
        for process in psutil.process_iter(["cmdline", "status"])
    )


def is_running(mark: str) -> bool:
    return how_many_run(mark) > 0


def wait_for(condition, seconds: float = 60, what: str = "the condition") -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        time.sleep(0.02)


class Host:
    def __init__(self, peer: Peer, folder: Path, mode: str = "unsandboxed", engine: str = "none"):
        self.peer, self.folder, self.mode = peer, folder, mode
        self.state = folder / "state"
        self.record = folder / "starts"
        self.log_path = folder / "agent.log"
        self.token = folder / "token"
        self.token.write_text(TOKEN + "\n")
        self.config = folder / "agent.toml"
        self.config.write_text(
            f'server = "{peer.url}"\nstate_dir = "{self.state}"\njoin_token_file = "{self.token}"\n'
            f'start_record = "{self.record}"\nbackoff_base_seconds = 0.1\nbackoff_cap_seconds = 0.5\n'
            f'engine = "{engine}"\n'
        )
        self.process: subprocess.Popen | None = None
        # Holds what a test lets loose, should the agent fail to; see guard().
        self.cage: cgroups.Cgroup | None = None

    def command(self, verb: str, *flags: str) -> list[str]:
        return [sys.executable, "-m", "gpus.agent", verb, "--config", str(self.config), *flags]

    def start(self, *flags: str) -> subprocess.Popen:
        if self.mode == "unsandboxed":
            flags = ("--unsandboxed", *flags)
        env = os.environ | {"AGENT_ONLY_VARIABLE": "of the agent"}
        with self.log_path.open("ab") as log:
            command = self.command("run", "--simulated-gpus", "1", *flags)
            cage = self.cage.enter if self.cage is not None else None
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log, stdout=log, env=env, preexec_fn=cage)
        return self.process

    def guard(self, *, tasks: int = 160, memory_mib: int = 2048) -> None:
        """Put the agent, and so all that it starts, in a cgroup: a test of a fork bomb must not be one.

        So few tasks that the machine goes on for everybody. Raises NoCgroups: then such a test is not to be run.
        """
        self._cages = cgroups.find(self.folder)
        self.cage = cgroups.Cgroup(self._cages, "cage")
        self.cage.make(memory_bytes=memory_mib << 20, tasks=tasks, gpus=1)

    def run(self, *flags: str) -> Host:
        """Start the agent and wait for its first sync."""
        before = len(self.peer.syncs)
        process = self.start(*flags)
        # An engine of containers is asked what it can before that; on a busy machine it takes its time.
        self.peer.until(lambda: len(self.peer.syncs) > before or process.poll() is not None, 60, "the first sync")
        assert process.poll() is None, self.said()
        return self

    def said(self) -> str:
        return self.log_path.read_text()

    def kill(self) -> None:
        """End the agent as a crash would: without a word."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=60)

    def held(self) -> list[Attempt]:
        return Attempt.load_all(self.state / "attempts") if (self.state / "attempts").is_dir() else []

    def folder_of(self, work: Work) -> Path:
        return self.state / "attempts" / work.assignment.id

    def started(self, work: Work) -> dict:
        """Wait until the program was started and give the supervisor's record."""
        path = self.folder_of(work) / "started.json"
        wait_for(path.exists, what=f"the start; {self.said()}")
        return durable.read_json(path) or {}

    def let_go(self, work: Work) -> None:
        """Open the GATE of a script."""
        (self.folder_of(work) / "box" / "work" / "go").touch()

    def starts(self, work: Work) -> int:
        """Count the start records of an attempt, which are written outside of any sandbox."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        return sum(line.split()[0] == work.assignment.id for line in lines)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._end_attempts()
        with contextlib.suppress(cgroups.NoCgroups):
            base = cgroups.find(self.state)
            cgroups.sweep(base, keep=set())
            cgroups.leave(base)
        if self.cage is not None:
            self.cage.remove()
            cgroups.leave(self._cages)

    def _end_attempts(self) -> None:
        for attempt in self.held():
            attempt.ask_stop("cancelled", 0)
            started = attempt.started()
            with contextlib.suppress(AssertionError):
                wait_for(lambda attempt=attempt: not attempt.is_supervised(), 30)
            if attempt.is_supervised() and started:
                os.kill(started["supervisor"], signal.SIGKILL)
