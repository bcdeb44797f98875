"""Run one attempt's program and outlive the agent: `python -m gpus.agent.supervisor <attempt folder>`.

It imports nothing but the standard library, so that it starts quickly and holds little memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import clock, durable, executors, processes
from .attempt import Attempt, Exit, Order
from .diskwatch import DiskWatch
from .executors.program import NotStarted
from .logfile import LogFile
from .protocol import (
    FAILED,
    FAULT_HOST,
    FAULT_NONE,
    FAULT_USER,
    SUCCEEDED,
    TIMED_OUT,
)
from .state import read_lease
from .streams import Streams
from .verdict import Verdict, stopped

if TYPE_CHECKING:
    from .executors.program import Program

POLL_SECONDS = 0.1
LEASE_SECONDS = 0.5
PROGRESS_SECONDS = 0.25
FENCE_GRACE_MS = 10_000

EXIT_BUSY, EXIT_ALREADY_STARTED = 4, 5


class Supervisor:
    """Start the program once, watch it, end it with everything it left behind, write how it ended."""

    program: Program

    def __init__(self, attempt: Attempt, order: Order):
        self.attempt, self.order = attempt, order
        self.assignment = attempt.assignment
        # The limit counts from it, by the clock that tells `elapsed_ms`: what timed out had all of its limit.
        self.started_at = float("inf")
        self.memory_limit = order.memory_mib << 20
        self.verdict: Verdict | None = None
        self.kill_at: float | None = None
        self.peak_rss = 0
        self.usage: dict = {}
        self._tree_at = self._lease_at = self._fence = 0.0
        self._host_goes_down = False
        self.disk = DiskWatch(attempt.folder / "box", max_mib=order.disk_mib, max_files=order.max_files)

    # -- start

    def run(self) -> Exit:
        """Run the program to its end. Steps: permission, record, start, watch, clean up, report."""
        if (refused := self._not_to_start()) is not None:
            return refused
        self._take_signals()
        log = LogFile(self.attempt.log_path, self.assignment.max_log_bytes)
        secrets = self.assignment.secrets.values()
        self.streams = Streams(log, self.attempt.folder / "progress.json", self._log_is_lost, secrets)
        self.started_at = clock.boottime()
        # From here on nobody may start this attempt again, even if this process dies before the exec.
        durable.write_json(
            self.attempt.folder / "started.json",
            {"at": self.started_at, "supervisor": os.getpid(), "boot": clock.boot_id()},
        )
        self._record_start()
        self.program = executors.program_class(self.assignment.executor)(self.attempt, self.order, self.streams)
        try:
            self.program.start()
        except NotStarted as why:
            log.close()
            return self._exit(FAILED, why.fault, why.code, why.detail, None)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            log.close()
            return self._exit(FAILED, FAULT_HOST, "start_failed", f"The program could not be started: {error}.", None)
        self._watch()
        self.program.kill()
        self.streams.drain()
        return self._conclude()

    def _not_to_start(self) -> Exit | None:
        """End before the start what was stopped or lost its lease since the permission."""
        verdict = self._due_verdict()
        if verdict is None:
            return None
        self.started_at = clock.boottime()
        return self._exit(verdict.outcome, verdict.fault, verdict.code, verdict.detail, None)

    def _record_start(self) -> None:
        if not self.order.start_record:
            return
        line = f"{self.attempt.id} {self.assignment.task_id} {self.attempt.epoch} {time.time():.6f}\n"
        fd = os.open(self.order.start_record, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.write(fd, line.encode())
        os.close(fd)

    def _take_signals(self) -> None:
        """Take note of signals; handlers, unlike SIG_IGN, are not passed on to the program."""

        def going_down(*_: object) -> None:
            self._host_goes_down = True

        signal.signal(signal.SIGTERM, going_down)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    # -- watch

    def _watch(self) -> None:
        """Wait until the program has ended; after a verdict, until its whole tree has, or its grace is over."""
        while True:
            self.streams.wait(POLL_SECONDS)
            has_ended = self.program.has_ended()
            self._look_at_tree()
            self.disk.step()
            if self.verdict is None and has_ended:
                return
            if self.verdict is None:
                verdict = self._due_verdict()
                if verdict is not None:
                    self._end(verdict)
            elif self._is_over():
                return
            self.streams.keep_progress(at_most_each=PROGRESS_SECONDS)

    def _is_over(self) -> bool:
        assert self.verdict is not None  # noqa: S101
        assert self.kill_at is not None  # noqa: S101
        asked = self.attempt.stop_asked()
        if asked is not None and asked["grace_ms"] < self.verdict.grace_ms:
            self.kill_at = min(self.kill_at, clock.boottime() + asked["grace_ms"] / 1000)
        self.program.terminate()
        return clock.boottime() >= self.kill_at or self.program.is_gone()

    def _log_is_lost(self, why: str) -> None:
        if self.verdict is None:
            detail = f"The log could not be written: {why}."
            self._end(Verdict(FAILED, FAULT_HOST, "disk", detail, self.assignment.grace_ms))

    def _look_at_tree(self) -> None:
        """Measure memory and count processes; reading /proc may take at most a few per cent of the time."""
        if time.monotonic() < self._tree_at:
            return
        spent = time.process_time()
        tree = self.program.tree()
        # On a host with many processes a look costs more, so it is taken less often, but each second.
        pause = min(1.0, max(0.25, 30 * (time.process_time() - spent)))
        self._tree_at = time.monotonic() + pause
        rss = sum(process.rss_bytes for process in tree)
        self.peak_rss = max(self.peak_rss, rss)
        if self.verdict is not None:
            return
        if (trouble := self.program.trouble()) is not None:
            self._end(Verdict(FAILED, trouble.fault, trouble.code, trouble.detail, 0))
        elif self.disk.excess is not None:
            self._end(Verdict(FAILED, FAULT_USER, "disk_full", self.disk.excess, 0))
        elif len(tree) > self.order.max_processes:
            detail = f"The program made {len(tree)} processes; the limit is {self.order.max_processes}."
            self._end(Verdict(FAILED, FAULT_USER, "too_many_processes", detail, 0))
        # RSS counts what processes share once for each; only where that is too much the costly true sum is read.
        elif (
            self.memory_limit
            and not self.program.limits_memory
            and rss > self.memory_limit
            and (used := processes.memory_held(tree, self.memory_limit)) > self.memory_limit
        ):
            detail = f"The program used {used >> 20} MiB of memory; its limit is {self.memory_limit >> 20} MiB."
            self._end(Verdict(FAILED, FAULT_USER, "out_of_memory", detail, 0))

    # -- end

    def _due_verdict(self) -> Verdict | None:
        """Say why the program is to be ended now, if it is."""
        now, grace_ms = clock.boottime(), self.assignment.grace_ms
        if (asked := self.attempt.stop_asked()) is not None:
            return stopped(asked["reason"], asked["grace_ms"])
        if self._host_goes_down:
            return Verdict(FAILED, FAULT_HOST, "host_shutdown", "The host goes down and ended the program.", grace_ms)
        ran_ms = (now - self.started_at) * 1000
        if ran_ms >= self.order.limit_ms and ran_ms >= (limit_ms := self._limit_ms()):
            detail = f"The time limit of {limit_ms / 1000:g} s was reached."
            return Verdict(TIMED_OUT, FAULT_USER, "time_limit", detail, grace_ms)
        if now >= self._fenced_at(now):
            detail = "The host was out of touch with the server for too long."
            return Verdict(FAILED, FAULT_HOST, "fenced", detail, min(grace_ms, FENCE_GRACE_MS))
        return None

    def _limit_ms(self) -> int:
        """Give the limit by now; a repeated question for the start may have been answered with more already."""
        return max(self.order.limit_ms, self.assignment.limit_ms + self.attempt.more_ms())

    def _fenced_at(self, now: float) -> float:
        """Give the moment past which the server may run this attempt elsewhere.

        When the file cannot be read the last known moment stands, so losing it cannot prolong a lease.
        """
        if now >= self._lease_at:
            self._lease_at = now + LEASE_SECONDS
            self._fence = read_lease(Path(self.order.lease_path)) or self._fence
        return self._fence

    def _end(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.kill_at = clock.boottime() + verdict.grace_ms / 1000
        self.program.terminate()

    def _conclude(self) -> Exit:
        exit_code = self.program.exit_code()
        self.usage = self.program.usage()
        self.usage["peak_rss_mib"] = max(self.peak_rss >> 20, self.usage.get("peak_rss_mib", 0))
        if self.verdict is not None:
            verdict = self.verdict
            return self._exit(verdict.outcome, verdict.fault, verdict.code, verdict.detail, exit_code)
        if exit_code == 0:
            return self._exit(SUCCEEDED, FAULT_NONE, "", "", 0)
        ending = self.program.ending(exit_code)
        if ending.fault == FAULT_USER and ending.code == "exit_code" and self.disk.found_full():
            detail = f"The host's disk was full while the program ran. {ending.detail}"
            return self._exit(FAILED, FAULT_HOST, "disk", detail, exit_code)
        return self._exit(FAILED, ending.fault, ending.code, ending.detail, exit_code)

    def _exit(self, outcome: str, fault: str, code: str, detail: str, exit_code: int | None) -> Exit:
        return Exit(
            outcome=outcome,
            fault=fault,
            code=code,
            detail=detail,
            exit_code=exit_code,
            elapsed_ms=int((clock.boottime() - self.started_at) * 1000),
            usage=self.usage,
        )


def main(folder: str) -> int:
    attempt = Attempt.load(Path(folder))
    if attempt is None:
        return 2
    lock = os.open(attempt.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return EXIT_BUSY
    if attempt.has_started or attempt.exit() is not None:
        return EXIT_ALREADY_STARTED
    order = Order.from_wire(durable.read_json(attempt.folder / "order.json"))
    ended = Supervisor(attempt, order).run()
    with contextlib.suppress(FileNotFoundError):  # the agent's state was taken away: nobody is left to be told
        attempt.keep_exit(ended)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
