"""Bring one attempt from its assignment to its accepted end, in a thread of its own.

Each step reads on disk how far the attempt is, so that a new agent process goes on where the last one was killed.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import clock, durable, processes, results
from .attempt import Attempt, Exit, Order
from .backoff import Backoff
from .client import LeaseLost, Refused, Unreachable
from .executors import EXECUTORS
from .executors.bubblewrap import python_binds
from .logs import LogShipper
from .protocol import (
    DISCARD,
    FAILED,
    FAULT_HOST,
    REFUSED,
    FinishRequest,
    HeldAttempt,
    StartRequest,
    Stop,
)
from .verdict import stopped

if TYPE_CHECKING:
    from .loop import Agent

log = logging.getLogger("gaas.agent")

TICK_SECONDS = 0.1
YOUNG_TICKS, YOUNG_TICK_SECONDS = 100, 0.02  # a short task is not made to wait for a tick
LAST_PROGRESS_SECONDS = 2.0
SPAWNS = 3
INCOMPLETE_TRIES = 5
PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class Closing(Exception):
    """State that the agent stops; the attempt stays as it is for the next one."""


class Discarded(Exception):
    """State that the attempt is no longer ours."""


class Runner(threading.Thread):
    """Drive one attempt. Public methods are called by the loop's thread and never wait."""

    def __init__(self, agent: Agent, attempt: Attempt):
        super().__init__(name=f"attempt-{attempt.id}", daemon=True)
        self.agent, self.attempt = agent, attempt
        self.backoff = Backoff(agent.config.backoff_base_seconds, agent.config.backoff_cap_seconds)
        log_backoff = Backoff(agent.config.backoff_base_seconds, agent.config.backoff_cap_seconds)
        self.shipper = LogShipper(agent.client, attempt, log_backoff)
        self.supervisor: subprocess.Popen | None = None
        self.progress: dict | None = None
        self.reported: dict | None = None  # the progress that the server is known to have
        self._progress_stamp = 0
        self._spawns = 0
        self._is_discarded = self._is_finishing = False
        self._nudged = threading.Event()

    # -- called by the loop

    def held(self) -> HeldAttempt:
        return HeldAttempt(
            id=self.attempt.id,
            epoch=self.attempt.epoch,
            state=self.attempt.state,
            elapsed_ms=self.attempt.elapsed_ms(),
            log_offset=self.shipper.acked,
            progress=self.progress,
        )

    def stop(self, stop: Stop) -> None:
        """Do as the server says. The supervisor reads the request itself, whatever this thread is waiting for."""
        if stop.verdict == DISCARD:
            self.discard(stop.reason)
        elif self.attempt.stop_asked() is None:
            log.info("%s: stopping (%s)", self.attempt, stop.reason)
            self.attempt.ask_stop(stop.reason or "cancelled", stop.grace_ms)
            self.nudge()

    def discard(self, reason: str) -> None:
        if not self._is_discarded:
            # While its end is being reported this is the other half of a race with a sync, and no news.
            level = logging.DEBUG if self._is_finishing else logging.WARNING
            log.log(level, "%s: is no longer ours (%s); ending and forgetting it", self.attempt, reason)
            self._is_discarded = True
            self.attempt.ask_stop("discarded", 0)
            self.nudge()

    def nudge(self) -> None:
        self._nudged.set()

    # -- the thread

    def run(self) -> None:
        while True:
            try:
                self._drive()
            except Closing:
                return
            except (Discarded, LeaseLost) as lost:
                self.discard(str(lost))
                if self._forget():
                    return
            except Refused as refused:
                if refused.status != 401:
                    log.error("%s: the server refused: %s", self.attempt, refused)
                    self.discard(str(refused))
                    continue
                self.agent.refused(refused)
                return
            except Exception:
                log.exception("%s: trying again", self.attempt)
                if self.agent.closing.wait(self.backoff.next()):
                    return
            else:
                return

    def _drive(self) -> None:
        """Steps: refuse what cannot be run, ask for the start, watch, finish, forget."""
        if self._is_discarded:
            raise Discarded("discarded")
        if not self.attempt.has_started and self.attempt.exit() is None:
            refused = self._refusal()
            if refused is not None:
                log.warning("%s: refused: %s", self.attempt, refused.detail)
                self.attempt.keep_exit(refused)
            elif not self.attempt.is_supervised():
                self._start()
        self._watch()
        self._finish()
        self.agent.forget(self)
        self.attempt.remove()

    def _pause(self, seconds: float) -> None:
        """Wait, but not for long past a nudge. Raises Closing and Discarded."""
        self._nudged.wait(seconds)
        self._nudged.clear()
        if self.agent.closing.is_set():
            raise Closing
        if self._is_discarded:
            raise Discarded("discarded")

    # -- start

    def _refusal(self) -> Exit | None:
        assignment = self.attempt.assignment
        executor = EXECUTORS.get(assignment.executor)
        if executor is None:
            return _refused("executor", f"This host has no executor {assignment.executor[:40]!r}.")
        if (why := executor.refusal(assignment)) is not None:
            return _refused("bad_payload", why)
        have = {gpu.uuid for gpu in self.agent.devices.gpus}
        if missing := [uuid for uuid in assignment.gpu_uuids if uuid not in have]:
            return _refused("gpu_missing", f"GPU {missing[0][:80]} is not there.")
        return None

    def _start(self) -> None:
        """Get the server's permission and start the supervisor.

        Asked again after any doubt: until `started.json` is there nothing has run, and the server
        answers the same attempt with what is left of its time.
        """
        while True:
            if (asked := self.attempt.stop_asked()) is not None:
                verdict = stopped(asked["reason"], 0)
                self.attempt.keep_exit(Exit(verdict.outcome, verdict.fault, verdict.code, verdict.detail))
                return
            if not self.agent.has_lease():
                self._pause(TICK_SECONDS)
                continue
            asked_at = clock.boottime()
            request = StartRequest(self.attempt.epoch, self.agent.session, self.agent.state.last_seq)
            try:
                limit_ms = self.agent.client.start(self.attempt.id, request).limit_ms
            except Unreachable as error:
                log.warning("%s: start was not answered (%s)", self.attempt, error)
                self._pause(self.backoff.next(error.retry_after))
                continue
            except Refused as refused:
                if refused.code != "stop_requested":
                    raise
                # The stop itself comes with a sync; nothing has run, so the end can be told at once.
                self.attempt.ask_stop("cancelled", 0)
                continue
            self.backoff.reset()
            self._keep_order(asked_at, limit_ms)
            self._spawn()
            return

    def _keep_order(self, permitted_at: float, limit_ms: int) -> None:
        config, uuids = self.agent.config, self.attempt.assignment.gpu_uuids
        order = Order(
            permitted_at=permitted_at,
            limit_ms=limit_ms,
            lease_path=str(self.agent.state.lease_path),
            bubblewrap=self.agent.bubblewrap,
            ro_binds=[*python_binds(), *config.extra_ro_binds],
            device_nodes=self.agent.devices.nodes_of(uuids),
            simulated_gpus=self.agent.devices.simulated_among(uuids),
            tmp_mib=config.tmp_mib,
            max_processes=config.max_processes,
            start_record=config.start_record and os.path.abspath(config.start_record),
        )
        durable.write_json(self.attempt.folder / "order.json", order.to_wire())

    def _spawn(self) -> None:
        """Start the supervisor in a session of its own, with nothing of this process's environment."""
        self._spawns += 1
        with (self.attempt.folder / "supervisor.log").open("ab") as errors:
            self.supervisor = subprocess.Popen(
                [sys.executable, "-S", "-P", "-m", "gpus.agent.supervisor", str(self.attempt.folder)],
                env={"PATH": os.defpath, "PYTHONPATH": str(PACKAGE_ROOT), "LANG": "C.UTF-8"},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        log.info("%s: started (%s)", self.attempt, self.attempt.assignment.title[:80])

    # -- watch

    def _watch(self) -> None:
        """Ship the log and pick up progress until the attempt has ended and its supervisor is gone."""
        ticks = 0
        while True:
            ticks += 1
            self._take_progress()
            moved = self.shipper.step()
            is_starting = self.supervisor is not None and self.supervisor.poll() is None
            if not is_starting and not self.attempt.is_supervised():
                if self.attempt.exit() is not None:
                    return
                self._without_supervisor()
            if not moved or self.shipper.is_whole:
                self._pause(YOUNG_TICK_SECONDS if ticks < YOUNG_TICKS else TICK_SECONDS)
            else:
                self._pause(0)

    def _without_supervisor(self) -> None:
        """Decide about an attempt that nobody supervises and that has no end on record."""
        if not self.attempt.has_started and self._spawns < SPAWNS:
            log.error("%s: its supervisor did not start: %s", self.attempt, self._supervisor_said())
            self._start()
            return
        started = self.attempt.started() or {}
        is_this_boot = started.get("boot") == clock.boot_id()
        if is_this_boot:
            self._kill_survivors()
        detail = "The program's supervisor was lost." if is_this_boot else "The host was restarted."
        log.error("%s: %s", self.attempt, detail)
        elapsed = self.attempt.elapsed_ms() if is_this_boot else 0
        self.attempt.keep_exit(Exit(FAILED, FAULT_HOST, "supervisor_lost", detail, elapsed_ms=elapsed))

    def _supervisor_said(self) -> str:
        try:
            lines = (self.attempt.folder / "supervisor.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1][:300] if lines else "it left no word"

    def _kill_survivors(self) -> None:
        supervisor = (self.attempt.started() or {}).get("supervisor")

        def survivors() -> list[processes.Process]:
            return processes.survivors(self.attempt.id, supervisor)

        def is_over() -> bool:
            # Nobody adopts these for us, so only several looks in a row can tell that none is left.
            return not any(survivors() for _ in range(3))

        processes.kill_all(survivors, is_over=is_over)

    def _take_progress(self) -> None:
        path = self.attempt.folder / "progress.json"
        try:
            stamp = path.stat().st_mtime_ns
        except OSError:
            return
        if stamp != self._progress_stamp:
            self._progress_stamp = stamp
            self.progress = durable.read_json(path)
            self.agent.progress_changed()

    # -- end

    def _report_progress(self) -> None:
        """Let a sync carry the last progress before the end is told; not for long, it is only progress."""
        self._take_progress()
        deadline = time.monotonic() + LAST_PROGRESS_SECONDS
        while self.progress != self.reported and time.monotonic() < deadline:
            self.agent.alarm.ring()
            self._pause(YOUNG_TICK_SECONDS)

    def _finish(self) -> None:
        """Report the end until the server has taken it; its log goes first."""
        ended = self.attempt.exit()
        assert ended is not None  # noqa: S101
        self._is_finishing = True
        self._report_progress()
        result, note = self._result(ended)
        incomplete = 0
        while True:
            self._flush()
            size, digest, lost_from = self.shipper.summary()
            request = FinishRequest(
                epoch=self.attempt.epoch,
                outcome=ended.outcome,
                fault=ended.fault,
                exit_code=ended.exit_code,
                code=ended.code,
                detail=f"{ended.detail} {note}".strip(),
                elapsed_ms=ended.elapsed_ms,
                log_size=size,
                log_sha256=digest,
                result=result,
                log_lost_from=lost_from,
                usage=ended.usage,
            )
            try:
                answer = self.agent.client.finish(self.attempt.id, request)
            except Unreachable as error:
                log.warning("%s: finish was not answered (%s)", self.attempt, error)
                self._pause(self.backoff.next(error.retry_after))
            except LeaseLost:
                raise
            except Refused as refused:
                if refused.code == "log_incomplete":
                    incomplete += 1
                    self.shipper.recheck() if incomplete < INCOMPLETE_TRIES else self.shipper.give_up()
                    self._pause(TICK_SECONDS)
                elif refused.status in (400, 413, 422) and result is not None:
                    log.warning("%s: its result was not taken: %s", self.attempt, refused)
                    result, note = None, "The server did not take result.json."
                else:
                    raise
            else:
                log.info("%s: %s %s", self.attempt, ended.outcome, ended.detail or f"(task {answer.task_status})")
                return

    def _result(self, ended: Exit) -> tuple[object, str]:
        if not self.attempt.has_started:
            return None, ""
        try:
            return results.read(self.attempt.folder / "box" / "output"), ""
        except results.BadResult as bad:
            return None, str(bad)

    def _flush(self) -> None:
        while not self.shipper.is_whole:
            if not self.shipper.step():
                self._pause(TICK_SECONDS)
            elif self.agent.closing.is_set():
                raise Closing

    def _forget(self) -> bool:
        """End whatever runs and remove the folder; False when the agent closes before that is done."""
        self.attempt.ask_stop("discarded", 0)
        while self.attempt.is_supervised() or (self.supervisor is not None and self.supervisor.poll() is None):
            if self.agent.closing.wait(TICK_SECONDS):
                return False
        if (self.attempt.started() or {}).get("boot") == clock.boot_id():
            self._kill_survivors()
        self.agent.forget(self)
        self.attempt.remove()
        return True


def _refused(code: str, detail: str) -> Exit:
    return Exit(REFUSED, FAULT_HOST, code, detail)
