"""What the executors have in common whose programs run under a supervisor on this host."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from .. import clock, durable, limits, processes
from ..attempt import Exit, Order
from ..protocol import FAILED, FAULT_HOST
from . import Executor, bubblewrap

if TYPE_CHECKING:
    from ..attempt import Attempt
    from ..loop import Agent

PACKAGE_ROOT = Path(__file__).resolve().parents[3]


class Supervised(Executor):
    """Start a supervisor for each attempt, which drives it by a program.Program and outlives the agent."""

    def __init__(self, agent: Agent):
        super().__init__(agent)
        self._supervisors: dict[str, subprocess.Popen] = {}

    def memory_mib(self, attempt: Attempt) -> int:
        return limits.memory_mib(
            asked=attempt.assignment.payload.get("memory_mib"),
            configured=self.agent.config.memory_mib,
            total_mib=psutil.virtual_memory().total >> 20,
            gpus=len(attempt.assignment.gpu_uuids),
            of_gpus=len(self.agent.devices.gpus),
        )

    def order(self, attempt: Attempt, limit_ms: int) -> Order:
        """Say what the supervisor needs beyond the assignment."""
        config, uuids = self.agent.config, attempt.assignment.gpu_uuids
        disk = shutil.disk_usage(attempt.folder)
        return Order(
            limit_ms=limit_ms,
            lease_path=str(self.agent.state.lease_path),
            bubblewrap=self.agent.bubblewrap,
            ro_binds=[*bubblewrap.python_binds(), *config.extra_ro_binds],
            device_nodes=self.agent.devices.nodes_of(uuids),
            simulated_gpus=self.agent.devices.simulated_among(uuids),
            tmp_mib=config.tmp_mib,
            max_processes=config.max_processes,
            start_record=config.start_record and os.path.abspath(config.start_record),
            memory_mib=self.memory_mib(attempt),
            disk_mib=limits.disk_mib(
                configured=config.disk_mib,
                total=disk.total,
                free=disk.free,
                gpus=len(uuids),
                of_gpus=len(self.agent.devices.gpus),
            ),
            max_files=config.max_files,
        )

    def launch(self, attempt: Attempt, limit_ms: int) -> None:
        """Start the supervisor in a session of its own, with nothing of this process's environment."""
        durable.write_json(attempt.folder / "order.json", self.order(attempt, limit_ms).to_wire())
        with (attempt.folder / "supervisor.log").open("ab") as errors:
            self._supervisors[attempt.id] = subprocess.Popen(
                [sys.executable, "-S", "-P", "-m", "gpus.agent.supervisor", str(attempt.folder)],
                env={"PATH": os.defpath, "PYTHONPATH": str(PACKAGE_ROOT), "LANG": "C.UTF-8"},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )

    def is_driven(self, attempt: Attempt) -> bool:
        supervisor = self._supervisors.get(attempt.id)
        is_starting = supervisor is not None and supervisor.poll() is None
        return is_starting or attempt.is_supervised()

    def last_word(self, attempt: Attempt) -> str:
        try:
            lines = (attempt.folder / "supervisor.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1][:300] if lines else super().last_word(attempt)

    def lost(self, attempt: Attempt) -> Exit:
        is_this_boot = (attempt.started() or {}).get("boot") == clock.boot_id()
        self.clear(attempt)
        detail = "The program's supervisor was lost." if is_this_boot else "The host was restarted."
        elapsed = attempt.elapsed_ms() if is_this_boot else 0
        return Exit(FAILED, FAULT_HOST, "supervisor_lost", detail, elapsed_ms=elapsed)

    def clear(self, attempt: Attempt) -> None:
        if (attempt.started() or {}).get("boot") == clock.boot_id():
            _kill_survivors(attempt)
        self._supervisors.pop(attempt.id, None)


def _kill_survivors(attempt: Attempt) -> None:
    supervisor = (attempt.started() or {}).get("supervisor")

    def survivors() -> list[processes.Process]:
        return processes.survivors(attempt.id, supervisor)

    def is_over() -> bool:
        # Nobody adopts these for us, so only several looks in a row can tell that none is left.
        return not any(survivors() for _ in range(3))

    processes.kill_all(survivors, is_over=is_over)
