"""Run attempts as jobs of a Slurm partition, which this host stands for.

An attempt waits in Slurm's queue while it is PREPARING. Its job claims it on the node and waits there for the
server's permission, `order.json`, which names that one job. From then on the supervisor on the node drives it;
what the agent knows of it is what it sees in the shared folder, and what one `squeue` for all says.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import durable
from ..attempt import Attempt, Exit, Order
from ..devices import Devices
from ..phase import Closing, Unprepared
from ..protocol import FAULT_HOST
from ..slurm import batch, check, library, states
from ..slurm.cluster import Cluster
from ..slurm.commands import Job, SlurmAway
from ..slurm.samples import measured
from ..verdict import NODE_FAILED, stopped
from . import Executor, Finding
from .payload import refusal

if TYPE_CHECKING:
    from ..config import Config
    from ..loop import Agent
    from ..phase import Phase
    from ..protocol import Assignment

log = logging.getLogger("gaas.agent")

LOOK_SECONDS = 0.05
MOST_TRIES = 5
KILL_SPARE_SECONDS = 5.0
PRESS_SECONDS = 5.0
DEFAULT_FENCE_SECONDS = 330.0


@dataclass
class Watch:
    """What this agent process remembers of an attempt; losing it costs only time."""

    key: str = ""
    known_at: float = 0.0  # since when the job is known here; a queue read later must show it
    gone_at: float | None = None  # since when its job is over although nothing tells its end
    told_at: float | None = None  # when Slurm was asked to pass on the stop
    pressed_at: float = float("-inf")


class SlurmExecutor(Executor):
    """Submit, watch and cancel jobs."""

    name = "slurm"

    def __init__(self, agent: Agent):
        super().__init__(agent)
        self.settings = agent.config.slurm
        self._watches: dict[str, Watch] = {}
        self._lock = threading.Lock()
        if self.settings is not None:
            owner = f"gaas:{agent.session}"
            self.cluster = Cluster(self.settings, agent.state.shared, owner, self._held)

    @classmethod
    def unusable(cls, config: Config) -> str | None:
        return None if config.slurm is not None else "no [slurm] section is in its configuration"

    @classmethod
    def examine(cls, config: Config) -> Iterator[Finding]:
        if config.slurm is not None:
            yield from check.examine(config.slurm, config)

    def _held(self) -> list[Attempt]:
        return [runner.attempt for runner in list(self.agent.runners.values()) if runner.executor is self]

    def adopt(self, attempts: list[Attempt]) -> None:
        """Begin to look at the cluster. Jobs that belong to no attempt are cancelled by what looks."""
        if self.settings is None:
            return
        (self.cluster.root / "out").mkdir(exist_ok=True, mode=0o700)
        self.cluster.on_nodes = self.agent.devices_changed
        self.cluster.start(library.lay_out(self.cluster.root))

    def devices(self) -> Devices | None:
        """List the partition's GPUs as far as Slurm has told."""
        if self.settings is None:
            return None
        return Devices(gpus=self.cluster.partition().reports, problem=self.cluster.problem)

    def samples(self) -> list[dict]:
        """Give what nodes measured of our GPUs, and name those that jobs of others hold.

        Of those: as many of each node as are in use beyond ours.
        """
        if self.settings is None:
            return []
        partition, held = self.cluster.partition(), self._held()
        ours = {uuid for attempt in held for uuid in attempt.assignment.gpu_uuids}
        readies = [ready for attempt in held if (ready := batch.ready_of(attempt))]
        samples = [sample for attempt in held for sample in measured(attempt, partition.devices)]
        for node, used in partition.used.items():
            own = {index for ready in readies if ready.get("node") == node for index in ready.get("gpus") or []}
            foreign = used - own
            free = [gpu for gpu in partition.devices.values() if gpu.node == node and gpu.uuid not in ours]
            free.sort(key=lambda gpu: gpu.index not in foreign)
            samples += [
                {"gpu": gpu.uuid, "foreign_processes": int(number < len(foreign))} for number, gpu in enumerate(free)
            ]
        return samples

    # -- before the start

    def refusal(self, assignment: Assignment) -> str | None:
        if assignment.payload.get("image"):
            return "A Slurm partition runs no images."
        return refusal(assignment)

    def prepare(self, attempt: Attempt, phase: Phase) -> None:
        """Get a job for the attempt that waits on its node for the permission."""
        shape = self._shape(attempt)
        durable.write_json(
            attempt.folder / "node.json",
            {"bubblewrap": self.agent.bubblewrap, "lease_path": str(self.agent.state.lease_path)},
        )
        while True:
            if self._is_ready(attempt):
                return
            if batch.job_of(attempt) is None:
                self._submit(attempt, shape, phase)
            self._await_ready(attempt, phase)

    def _shape(self, attempt: Attempt) -> batch.Shape:
        """Say what to ask for. GPUs of one node are asked of that node; Slurm chooses which of them."""
        devices = self.cluster.partition().devices
        wanted = [devices[uuid] for uuid in attempt.assignment.gpu_uuids if uuid in devices]
        if len(wanted) < len(attempt.assignment.gpu_uuids):
            raise Unprepared(FAULT_HOST, "gpu_missing", "A GPU that was assigned is not there any more.")
        nodes, types = {gpu.node for gpu in wanted}, {gpu.type for gpu in wanted}
        if len(types) > 1:
            raise Unprepared(FAULT_HOST, "mixed_gpus", "The assigned GPUs are of several types; a job has one.")
        type_ = next(iter(types), "gpu")
        per_node = [sum(gpu.node == node and gpu.type in types for gpu in devices.values()) for node in self._nodes()]
        if len(nodes) > 1 and len(wanted) > max(per_node, default=0):
            raise Unprepared(FAULT_HOST, "mixed_nodes", f"No node of the partition has {len(wanted)} such GPUs.")
        assert self.settings is not None  # noqa: S101
        node = next(iter(nodes)) if len(nodes) == 1 and self.settings.bind_nodes else ""
        return batch.shape(attempt, self.settings, node=node, type_=type_, gpus=len(wanted))

    def _nodes(self) -> set[str]:
        return {gpu.node for gpu in self.cluster.partition().devices.values()}

    def _is_ready(self, attempt: Attempt) -> bool:
        """Say whether a job waits for the permission. One of ours that came before the known one is as good."""
        ready = batch.ready_of(attempt)
        if ready is None:
            return False
        if batch.job_of(attempt) != ready["key"]:
            batch.keep_job(attempt, ready["key"])
        return not self._is_over(attempt)

    def _submit(self, attempt: Attempt, shape: batch.Shape, phase: Phase) -> None:
        """Hand the attempt to Slurm, unless an earlier sbatch, whose answer was lost, has done it."""
        if (place := batch.place_of(attempt)) is not None and self._find(attempt, place, phase):
            return
        if batch.tries(attempt) >= MOST_TRIES:
            raise Unprepared(FAULT_HOST, "slurm_unreachable", "Slurm did not take its job.")
        phase.say("handing it to Slurm")
        submission = self.cluster.submit(attempt, shape)
        # Not left for a stop: the batch is on its way, and others may be in it.
        while not submission.done.wait(LOOK_SECONDS):
            if self.agent.closing.is_set():
                raise Closing
        if submission.failed is None:
            return
        if not isinstance(submission.failed, SlurmAway):
            raise Unprepared(FAULT_HOST, "slurm_refused", f"Slurm refused its job: {str(submission.failed)[:300]}.")
        log.warning("%s: sbatch was not answered (%s)", attempt, submission.failed)
        phase.say(f"Slurm did not answer: {submission.failed}")

    def _find(self, attempt: Attempt, place: batch.Place, phase: Phase) -> bool:
        """Look for a job by its name until the queue was read often enough to know that there is none."""
        phase.say("looking for its job in Slurm")
        assert self.settings is not None  # noqa: S101
        asked_at = looked_at = time.monotonic()
        until_listed = 0
        while until_listed < 2 or time.monotonic() - asked_at < self.settings.settle_seconds:
            if batch.ready_of(attempt) is not None:
                return True
            if (job := self.cluster.named(place)) is not None and self.cluster.listed_since(asked_at):
                batch.keep_job(attempt, job.key)
                log.info("%s: found as job %s", attempt, job.key)
                return True
            if self.cluster.listed_since(looked_at):
                until_listed, looked_at = until_listed + 1, time.monotonic()
            phase.pause(LOOK_SECONDS)
        return False

    def _await_ready(self, attempt: Attempt, phase: Phase) -> None:
        """Wait in Slurm's queue; come back when the job is ready, or is over and another one is needed."""
        while (key := batch.job_of(attempt)) is not None and not self._is_ready(attempt):
            if (ended := attempt.exit()) is not None:
                raise Unprepared(ended.fault, ended.code, ended.detail)
            job = self.cluster.job(key)
            if job is not None and job.state in states.WAITING and job.reason in states.HOPELESS:
                raise Unprepared(FAULT_HOST, "slurm_refused", f"Slurm would never start its job: {job.reason}.")
            if self._is_over(attempt):
                word = self.last_word(attempt)
                self._drop_job(attempt)
                if batch.tries(attempt) >= MOST_TRIES or (job is not None and job.state == "CANCELLED"):
                    raise Unprepared(FAULT_HOST, "slurm_failed", f"Its job ended before it could begin: {word[:300]}")
                log.warning("%s: job %s was over before it began: %s", attempt, key, word)
                return
            phase.say(_shown(key, job), queued=job is None or job.state in states.WAITING)
            phase.pause(LOOK_SECONDS)

    def _drop_job(self, attempt: Attempt) -> None:
        """Forget a job that is over, so that another one may be made. The old one cannot begin any more."""
        for name in ("order.json", "ready.json", "job.json"):
            with contextlib.suppress(FileNotFoundError):
                (attempt.folder / name).unlink()
        self._watches.pop(attempt.id, None)

    def launch(self, attempt: Attempt, limit_ms: int) -> None:
        """Write the permission for the one job that waits; it begins within a moment."""
        config = self.agent.config
        ready = batch.ready_of(attempt)
        if ready is None:
            return  # its node is gone meanwhile: nobody drives it, and it is prepared again
        simulated = self.agent.devices.simulated_among(attempt.assignment.gpu_uuids)
        asked = attempt.assignment.payload.get("memory_mib")
        order = Order(
            memory_mib=asked if isinstance(asked, int) and not isinstance(asked, bool) and asked > 0 else 0,
            limit_ms=limit_ms,
            lease_path=str(self.agent.state.lease_path),
            lease_ms=max(0, int(self.agent.lease_left() * 1000)),
            bubblewrap=self.agent.bubblewrap,
            ro_binds=list(config.extra_ro_binds),
            simulated_gpus=simulated,
            tmp_mib=config.tmp_mib,
            max_processes=config.max_processes,
            start_record=config.start_record and os.path.abspath(config.start_record),
            job=ready["key"],
        )
        durable.write_json(attempt.folder / "order.json", order.to_wire())

    # -- from the start to the end

    def is_driven(self, attempt: Attempt) -> bool:
        """Say whether the supervisor on the node will write the end, as far as Slurm and the folder tell."""
        if attempt.exit() is not None:
            return False
        if not attempt.has_started and not self._is_permitted(attempt):
            return False
        if attempt.stop_asked() is not None:
            self._press(attempt)
        return not self._is_over(attempt)

    def _is_permitted(self, attempt: Attempt) -> bool:
        order, ready = durable.read_json(attempt.folder / "order.json") or {}, batch.ready_of(attempt)
        return ready is not None and order.get("job") == ready["key"]

    def _watch(self, attempt: Attempt) -> Watch:
        with self._lock:
            return self._watches.setdefault(attempt.id, Watch())

    def _is_over(self, attempt: Attempt) -> bool:
        """Say whether the attempt's job is over and enough time has passed for its last files to be seen.

        Slurm lists ended jobs for some minutes, then forgets them. One on a node that it lost may go on until
        its lease is over, unless it sees the request to stop; only then it is over.
        """
        watch, key = self._watch(attempt), batch.job_of(attempt)
        now = time.monotonic()
        assert self.settings is not None  # noqa: S101
        job = self.cluster.job(key) if key else None
        if key != watch.key:
            watch.key, watch.known_at, watch.gone_at = key or "", now, None
        is_listed = self.cluster.listed_since(watch.known_at)
        if key is None or not is_listed or (job is not None and not states.is_over(job.state)):
            watch.gone_at = None
            return False
        if watch.gone_at is None:
            watch.gone_at = now
        settle = self.settings.settle_seconds
        # Without a permission nothing runs; with one, only Slurm's word that it ended proves that.
        if (job is None or states.may_still_run(job.state)) and self._is_permitted(attempt):
            if attempt.stop_asked() is None:
                attempt.ask_stop(NODE_FAILED, 0)
            settle += self.agent.timers.fence_seconds or DEFAULT_FENCE_SECONDS
        return now - watch.gone_at >= settle

    def _press(self, attempt: Attempt) -> None:
        """Pass a stop on by Slurm too: TERM to the supervisor, and KILL to everything when its grace is long over."""
        watch, key = self._watch(attempt), batch.job_of(attempt)
        asked = attempt.stop_asked()
        now = time.monotonic()
        if key is None or asked is None or now - watch.pressed_at < PRESS_SECONDS:
            return
        if watch.told_at is None:
            watch.told_at = watch.pressed_at = now
            self.cluster.errand(lambda: self.cluster.commands.signal(key, "TERM", whole=False))
        elif now - watch.told_at >= asked["grace_ms"] / 1000 + KILL_SPARE_SECONDS:
            watch.pressed_at = now
            self.cluster.errand(lambda: self.cluster.commands.signal(key, "KILL", whole=True))
            self.cluster.errand(lambda: self.cluster.commands.cancel(key))

    def last_word(self, attempt: Attempt) -> str:
        key = batch.job_of(attempt) or ""
        lines = batch.said(self.cluster.root, self._number(attempt)).strip().splitlines()
        job = self.cluster.job(key)
        state = f"{job.state} ({job.reason})" if job is not None else "not in the queue"
        return f"job {key or 'unknown'} is {state}. {lines[-1][:300] if lines else ''}".strip()

    def _number(self, attempt: Attempt) -> str:
        ready, job = batch.ready_of(attempt), self.cluster.job(batch.job_of(attempt) or "")
        return str(ready.get("number", "")) if ready is not None else job.number if job is not None else ""

    def lost(self, attempt: Attempt) -> Exit:
        """Judge by what Slurm says of the job, unless its supervisor's word came after all."""
        if (ended := attempt.exit()) is not None:
            return ended
        job = self.cluster.job(batch.job_of(attempt) or "")
        node = (batch.ready_of(attempt) or {}).get("node", "")
        verdict = states.judge(
            job.state if job else "", str(node), batch.said(self.cluster.root, self._number(attempt))
        )
        asked = attempt.stop_asked()
        if asked is not None and asked["reason"] != NODE_FAILED and verdict.fault == FAULT_HOST:
            verdict = stopped(asked["reason"], 0)
        return Exit(verdict.outcome, verdict.fault, verdict.code, verdict.detail, elapsed_ms=attempt.elapsed_ms())

    def clear(self, attempt: Attempt) -> None:
        """Cancel what is in the queue or runs, and wait until it is over, if it may still do anything."""
        key = batch.job_of(attempt)
        place = batch.place_of(attempt)
        if key is None and place is not None and (job := self.cluster.named(place)) is not None:
            key = job.key
        ended = attempt.exit()
        is_done = ended is not None and (attempt.has_started or ended.code == "sandbox_failed")
        if key is not None and not is_done:
            self._cancel(attempt, key)
        number = self._number(attempt)
        if number:
            with contextlib.suppress(OSError):
                (self.cluster.root / "out" / number).unlink()
        with self._lock:
            self._watches.pop(attempt.id, None)

    def _cancel(self, attempt: Attempt, key: str) -> None:
        """Cancel a job. It is over when Slurm says so; one without a permission may be left to that."""
        self.cluster.errand(lambda: self.cluster.commands.cancel(key))
        while self._is_permitted(attempt) and attempt.exit() is None and not self._is_over(attempt):
            if self.agent.closing.wait(LOOK_SECONDS):
                return


def _shown(key: str, job: Job | None) -> str:
    if job is None:
        return f"job {key} is on its way into Slurm's queue"
    if job.state == "PENDING":
        return f"job {key} waits in Slurm's queue: {job.reason}"
    return f"job {key} is {job.state.lower()} on {job.node or 'a node'}"
