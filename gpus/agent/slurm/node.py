"""What a job executes on its node: `python -m gpus.agent.slurm.node <attempt folder> <seconds> <device nodes>`.

It is the supervisor of process.py with three differences. It waits for the server's permission, which the agent
writes into the attempt's folder. It knows the lease only by its content, since a node's clocks say nothing about
the agent's: each new content is worth what it says, counted from the last look that did not show it. And Slurm
decides which GPUs of the node the program has.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import clock, durable
from ..attempt import Attempt, Exit, Order
from ..executors import bubblewrap
from ..protocol import FAILED, FAULT_HOST, REFUSED
from ..supervisor import Supervisor
from ..verdict import Verdict
from .samples import Sampler

GO_LOOK_SECONDS = 0.05
LOOK_SECONDS = 0.5
BEAT_SECONDS = 1.0
SIGNAL_SECONDS = 0.5
SLURMS_ENDS = (128 + signal.SIGTERM, 128 + signal.SIGKILL)


@dataclass(frozen=True)
class Given:
    """What Slurm gave this job."""

    key: str
    number: str
    node: str
    indexes: list[int]
    visible: str  # CUDA_VISIBLE_DEVICES as Slurm set it

    @classmethod
    def read(cls, environment: dict[str, str]) -> Given:
        number = environment.get("SLURM_JOB_ID", "")
        array, element = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
        indexes = [int(word) for word in environment.get("SLURM_JOB_GPUS", "").split(",") if word.isdecimal()]
        return cls(
            key=f"{array}_{element}" if array and element else number,
            number=number,
            node=environment.get("SLURMD_NODENAME", ""),
            indexes=indexes,
            visible=environment.get("CUDA_VISIBLE_DEVICES", ""),
        )


def fresh(path: Path) -> dict[str, Any] | None:
    """Read a file that another machine may just have written: listing its folder first makes NFS look again."""
    with contextlib.suppress(OSError):
        os.listdir(path.parent)
    return durable.read_json(path)


class Lease:
    """Until when the program may run, by this node's clock and the contents of the agent's lease file."""

    def __init__(self, path: Path):
        self._path = path
        self._looked_at = clock.boottime()
        self._seen = fresh(path)
        self.until = float("-inf")

    def grant(self, seconds: float, *, since: float) -> None:
        self.until = since + seconds

    def look(self, now: float) -> float:
        """Take in what is new and give the moment at which the program must end."""
        content = fresh(self._path)
        if content is not None and content != self._seen:
            left = content.get("left_seconds")
            if isinstance(left, int | float):
                # It was written after the look before, so this cannot be too long, however late it is seen.
                self.until = max(self.until, self._looked_at + left)
            self._seen = content
        self._looked_at = now
        return self.until


class NodeSupervisor(Supervisor):
    """Supervise one program on a node, all times of which are on this node's clock."""

    def __init__(self, attempt: Attempt, order: Order, lease: Lease, sampler: Sampler | None):
        super().__init__(attempt, order)
        self._lease, self._sampler = lease, sampler
        self._looked_at = self._beat_at = float("-inf")

    def _due_verdict(self) -> Verdict | None:
        now = clock.boottime()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._fence = self._lease.look(now)
            with contextlib.suppress(OSError):
                os.listdir(self.attempt.folder)
        if now - self._beat_at >= BEAT_SECONDS:
            self._beat_at = now
            self._beat(now)
        verdict = super()._due_verdict()
        return self._told_to_end() if verdict is not None and verdict.code == "host_shutdown" else verdict

    def _told_to_end(self) -> Verdict:
        return Verdict(FAILED, FAULT_HOST, "slurm_ended", "Slurm told the job to end.", self.assignment.grace_ms)

    def _conclude(self) -> Exit:
        """Tell a program that Slurm ended from one that ended by itself: Slurm signals both, in no certain order."""
        code = self.program.exit_code()
        if self.verdict is None and code:
            until = time.monotonic() + (SIGNAL_SECONDS if code in SLURMS_ENDS else 0.0)
            while not self._host_goes_down and time.monotonic() < until:
                time.sleep(0.02)
            if self._host_goes_down:
                self.verdict = self._told_to_end()
        return super()._conclude()

    def _beat(self, now: float) -> None:
        """Tell how long the program has run: the agent cannot know it by a clock of its own."""
        if self.started_at <= now:
            with contextlib.suppress(OSError):
                elapsed = int((now - self.started_at) * 1000)
                durable.write(self.attempt.folder / "elapsed", str(elapsed).encode(), durable=False)
            if self._sampler is not None:
                with contextlib.suppress(RuntimeError):  # where no thread can be had, nothing is measured
                    self._sampler.start()  # not before the program: a process with threads is not to be forked
                self._sampler = None

    def _fenced_at(self, now: float) -> float:
        return self._fence


def claim(folder: Path, given: Given) -> bool:
    """Become the one job that may run this attempt; False when another one has.

    A link is made in one step on every file system that nodes share.
    """
    part = folder / f".ready.{given.number}"
    durable.write_json(part, {"key": given.key, "number": given.number, "node": given.node, "gpus": given.indexes})
    try:
        os.link(part, folder / "ready.json")
    except FileExistsError:
        return False
    finally:
        part.unlink(missing_ok=True)
    return True


def await_order(attempt: Attempt, given: Given, seconds: float) -> tuple[Order, float] | None:
    """Wait for the permission; gives it with the moment of the last look without it. None: there is none."""
    looked_at = clock.boottime()
    until = looked_at + seconds
    while True:
        now = clock.boottime()
        stored = fresh(attempt.folder / "order.json")
        if stored is not None and stored.get("job") == given.key:
            return Order.from_wire(stored), looked_at
        if now >= until or attempt.stop_asked() is not None or not attempt.folder.is_dir():
            return None
        looked_at = now
        time.sleep(GO_LOOK_SECONDS)


def sandbox(name: str) -> str:
    """Give the path of the sandbox that was asked for. Raises LookupError with the reason when it does not work."""
    if not name:
        return ""
    if (why := bubblewrap.unusable(name)) is not None:
        raise LookupError(why)
    return shutil.which(name) or name


def measurable(order: Order, given: Given, device_nodes: str) -> dict[int, str]:
    """Give the device nodes of the GPUs by Slurm's index; none of simulated ones."""
    return {} if order.simulated_gpus else {index: device_nodes.format(index=index) for index in given.indexes}


def equipped(order: Order, given: Given, device_nodes: str, *, box: str) -> Order:
    """Lay what this node is and has over the order."""
    nodes = [*measurable(order, given, device_nodes).values()]
    common = [node for node in ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools") if os.path.exists(node)]
    return replace(
        order,
        bubblewrap=box,
        ro_binds=[*bubblewrap.python_binds(), *order.ro_binds],
        device_nodes=[*nodes, *common] if nodes else [],
        visible_devices=given.visible,
    )


def main(folder: str, seconds: str, device_nodes: str) -> int:
    """Steps: claim the attempt, look at the sandbox, wait for the permission, supervise, write how it ended."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # until there is a program to be ended in order
    attempt = Attempt.load(Path(folder))
    if attempt is None:
        return 2
    given = Given.read(dict(os.environ))
    wanted = durable.read_json(attempt.folder / "node.json") or {}
    lease = Lease(Path(str(wanted.get("lease_path", ""))))
    if attempt.exit() is not None or attempt.has_started or not claim(attempt.folder, given):
        sys.stderr.write(f"job {given.key}: attempt {attempt.id} is another job's\n")
        return 3
    try:
        box = sandbox(str(wanted.get("bubblewrap", "bwrap")))
    except LookupError as why:
        detail = f"The node {given.node} has no usable sandbox: {why}."
        attempt.keep_exit(Exit(REFUSED, FAULT_HOST, "sandbox_failed", detail))
        return 1
    granted = await_order(attempt, given, float(seconds))
    if granted is None:
        return 0
    order, since = granted
    lease.grant(order.lease_ms / 1000, since=since)
    order = equipped(order, given, device_nodes, box=box)
    try:
        nodes = measurable(order, given, device_nodes)
        ended = NodeSupervisor(attempt, order, lease, Sampler(attempt, nodes) if nodes else None).run()
    except Exception as error:
        ended = Exit(FAILED, FAULT_HOST, "supervisor_failed", f"Its supervisor failed: {error!r:.300}.")
    with contextlib.suppress(FileNotFoundError):
        attempt.keep_exit(ended)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
