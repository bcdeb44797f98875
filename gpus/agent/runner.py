"""Bring one attempt from its assignment to its accepted end, in a thread of its own.

Each step reads on disk how far the attempt is, so that a new agent process goes on where the last one was killed.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from . import checkpoints, durable, inputs, outputs
from .attempt import Attempt, Exit
from .backoff import Backoff
from .client import LeaseLost, Refused, Unreachable
from .logs import LogShipper
from .phase import Closing, Discarded, Phase, Stopped, Unprepared
from .protocol import (
    DISCARD,
    FAILED,
    FAULT_HOST,
    REFUSED,
    SUCCEEDED,
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
LAUNCHES = 3
INCOMPLETE_TRIES = 5


class Runner(threading.Thread):
    """Drive one attempt. Public methods are called by the loop's thread and never wait."""

    def __init__(self, agent: Agent, attempt: Attempt):
        super().__init__(name=f"attempt-{attempt.id}", daemon=True)
        self.agent, self.attempt = agent, attempt
        self.backoff = Backoff(agent.config.backoff_base_seconds, agent.config.backoff_cap_seconds)
        log_backoff = Backoff(agent.config.backoff_base_seconds, agent.config.backoff_cap_seconds)
        self.shipper = LogShipper(agent.client, attempt, log_backoff)
        self.executor = agent.executors.get(attempt.assignment.executor)
        self.keeper = checkpoints.Keeper(agent.client, attempt)
        self.progress: dict | None = None
        self.phase: dict | None = None
        self.reported: dict | None = None  # the progress that the server is known to have
        self._progress_stamp = 0
        self._launches = 0
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
            phase=self.phase,
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
                if not self._is_discarded:
                    return
            except Exception:
                log.exception("%s: trying again", self.attempt)
                if self.agent.closing.wait(self.backoff.next()):
                    return
            else:
                return

    def _drive(self) -> None:
        """Steps: refuse what cannot be run, prepare, ask for the start, watch, collect, finish, forget."""
        if self._is_discarded:
            raise Discarded("discarded")
        if not self.attempt.has_started and self.attempt.exit() is None:
            refused = self._refusal()
            if refused is not None:
                log.warning("%s: refused: %s", self.attempt, refused.detail)
                self.attempt.keep_exit(refused)
            elif not self._is_driven():
                self._begin()
        self._watch()
        self._finish()
        if self.executor is not None:
            self.executor.clear(self.attempt)
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
        if self.executor is None:
            return _refused("executor", f"This host has no executor {assignment.executor[:40]!r}.")
        if (why := self.executor.refusal(assignment)) is not None:
            return _refused("bad_payload", why)
        if (unusable := self.executor.unusable(self.agent.config)) is not None:
            return _refused("executor", f"This host cannot run it now: {unusable[:300]}.")
        have = {gpu.uuid for gpu in self.agent.devices.gpus}
        if missing := [uuid for uuid in assignment.gpu_uuids if uuid not in have]:
            return _refused("gpu_missing", f"GPU {missing[0][:80]} is not there.")
        return None

    def _begin(self) -> None:
        """Prepare and start; what ends before its start has its end on record afterwards."""
        try:
            self._prepare()
            self._start()
        except Stopped:
            verdict = stopped((self.attempt.stop_asked() or {}).get("reason", "cancelled"), 0)
            self.attempt.keep_exit(Exit(verdict.outcome, verdict.fault, verdict.code, verdict.detail))
        except Unprepared as why:
            log.warning("%s: not started: %s", self.attempt, why.detail)
            self.attempt.keep_exit(Exit(REFUSED, why.fault, why.code, why.detail))
        finally:
            self.phase = None

    def _prepare(self) -> None:
        """Get the inputs, then what the executor needs; from the beginning again when the server was away."""
        assert self.executor is not None  # noqa: S101
        phase = Phase(self.attempt, self._pause, self._show_phase)
        # Only the sandbox is known to show the inputs in a way that nobody can write to.
        may_link = self.attempt.assignment.executor == "process" and bool(self.agent.bubblewrap)
        while True:
            phase.check()
            try:
                inputs.fetch(self.attempt, self.agent.client, phase, self.agent.cache, may_link=may_link)
                break
            except Unreachable as error:
                log.warning("%s: its inputs were not fetched (%s)", self.attempt, error)
                phase.pause(self.backoff.next(error.retry_after))
        self.backoff.reset()
        self.executor.prepare(self.attempt, phase)

    def _show_phase(self, phase: dict | None) -> None:
        if phase != self.phase:
            self.phase = phase
            self.agent.progress_changed()

    def _start(self) -> None:
        """Get the server's permission and launch. Raises Stopped.

        Asked again after any doubt: until `started.json` is there nothing has run, and the server
        answers the same attempt as before.
        """
        while True:
            if self.attempt.stop_asked() is not None:
                raise Stopped
            if not self.agent.has_lease():
                self._pause(TICK_SECONDS)
                continue
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
            self._launches += 1
            assert self.executor is not None  # noqa: S101
            self.executor.launch(self.attempt, limit_ms)
            log.info("%s: started (%s)", self.attempt, self.attempt.assignment.title[:80])
            if "serve" in self.attempt.assignment.payload:
                self.agent.alarm.ring()  # the next sync names its relay
            return

    # -- watch

    def _is_driven(self) -> bool:
        return self.executor is not None and self.executor.is_driven(self.attempt)

    def _watch(self) -> None:
        """Ship the log and pick up progress until the attempt has ended and nobody drives it any more."""
        ticks = 0
        while True:
            ticks += 1
            self._take_progress()
            if self.attempt.has_started:
                self.keeper.tick()
            moved = self.shipper.step()
            if not self._is_driven():
                if self.attempt.exit() is not None:
                    return
                self._not_driven()
            if not moved or self.shipper.is_whole:
                self._pause(YOUNG_TICK_SECONDS if ticks < YOUNG_TICKS else TICK_SECONDS)
            else:
                self._pause(0)

    def _not_driven(self) -> None:
        """Decide about an attempt that nobody drives and that has no end on record."""
        if self.executor is None:
            # An older agent ran it by an executor that this one does not have.
            detail = "The agent that started it was replaced by another kind of agent."
            self.attempt.keep_exit(Exit(FAILED, FAULT_HOST, "supervisor_lost", detail))
            return
        if not self.attempt.has_started and self._launches < LAUNCHES:
            log.error("%s: it was not started: %s", self.attempt, self.executor.last_word(self.attempt))
            self._begin()
            return
        ended = self.executor.lost(self.attempt)
        log.error("%s: %s Its last word: %s", self.attempt, ended.detail, self.executor.last_word(self.attempt))
        self.attempt.keep_exit(ended)

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
        """Report the end until the server has taken it; its log and what it left go first."""
        ended = self.attempt.exit()
        assert ended is not None  # noqa: S101
        self._is_finishing = True
        self._report_progress()
        collected = self._collect(ended)
        self.keeper.end()
        result, note = collected.result, collected.note
        incomplete = files_missing = 0
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
                artifacts=collected.files,
                files_note=collected.files_note,
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
                elif refused.code == "artifacts_incomplete":
                    files_missing += 1
                    self._pause(TICK_SECONDS)
                    collected = self._collect(ended) if files_missing < INCOMPLETE_TRIES else _without_files(collected)
                elif refused.status in (400, 413, 422) and result is not None:
                    log.warning("%s: its result was not taken: %s", self.attempt, refused)
                    result, note = None, "The server did not take result.json."
                else:
                    raise
            else:
                log.info("%s: %s %s", self.attempt, ended.outcome, ended.detail or f"(task {answer.task_status})")
                return

    def _collect(self, ended: Exit) -> outputs.Collected:
        if not self.attempt.has_started:
            return outputs.Collected()
        phase = Phase(self.attempt, self._pause, self._show_phase)
        while True:
            try:
                # After a success nobody goes on from where it was.
                said = "" if ended.outcome == SUCCEEDED else self.keeper.last(phase.check)
                collected = outputs.collect(self.attempt, ended, self.agent.client, phase)
                collected.files_note = f"{said} {collected.files_note}".strip()[:2000]
                return collected
            except Unreachable as error:
                log.warning("%s: what it left was not taken (%s)", self.attempt, error)
                self._pause(self.backoff.next(error.retry_after))

    def _flush(self) -> None:
        while not self.shipper.is_whole:
            if not self.shipper.step():
                self._pause(TICK_SECONDS)
            elif self.agent.closing.is_set():
                raise Closing

    def _forget(self) -> bool:
        """End whatever runs and remove the folder; False when the agent closes before that is done."""
        self.attempt.ask_stop("discarded", 0)
        self.keeper.end()
        while self._is_driven():
            if self.agent.closing.wait(TICK_SECONDS):
                return False
        if self.executor is not None:
            self.executor.clear(self.attempt)
        # In this order: an agent that ends because nothing is held must leave nothing behind.
        self.attempt.remove()
        self.agent.forget(self)
        return True


def _without_files(collected: outputs.Collected) -> outputs.Collected:
    """Let an attempt end although the server does not find what it said it had."""
    note = f"{len(collected.files)} files were sent and are not kept."
    return outputs.Collected(collected.result, collected.note, [], f"{note} {collected.files_note}".strip()[:2000])


def _refused(code: str, detail: str) -> Exit:
    return Exit(REFUSED, FAULT_HOST, code, detail)
