"""Run a task's command as a process of this host, in a sandbox where there is one."""

from __future__ import annotations

import atexit
import logging
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .. import cgroups, leftovers
from . import Finding, bubblewrap
from .payload import refusal
from .supervised import Supervised

if TYPE_CHECKING:
    from ..attempt import Attempt, Order
    from ..config import Config
    from ..loop import Agent
    from ..protocol import Assignment

log = logging.getLogger("gaas.agent")


class ProcessExecutor(Supervised):
    """Run programs under bubblewrap, or as they are where the owner said so."""

    name = "process"

    def __init__(self, agent: Agent):
        super().__init__(agent)
        self.cgroups: cgroups.Base | None = None

    @classmethod
    def unusable(cls, config: Config) -> str | None:
        """Every host can but one that stands for others: without a sandbox `run` ends at once, unless so wanted."""
        return None if config.slurm is None else "this host stands for a Slurm partition"

    @classmethod
    def examine(cls, config: Config) -> Iterator[Finding]:
        why = bubblewrap.unusable(config.bubblewrap)
        if why is None:
            yield Finding("sandbox", True, f"bubblewrap works ({shutil.which(config.bubblewrap)})")
        elif shutil.which(config.bubblewrap) is None:
            yield Finding("sandbox", False, why, "apt install bubblewrap")
        else:
            mend = "sysctl -w kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0"
            yield Finding("sandbox", False, f"bubblewrap does not work: {why}", mend)

        yield cls._limits(config)

    @staticmethod
    def _limits(config: Config) -> Finding:
        """Say who would keep memory and processes here; tried beside the agent's own cgroups, which stay."""
        if not config.cgroups:
            return Finding("limits", True, "memory and processes by looking: cgroups = false in the configuration")
        try:
            base = cgroups.find(config.state_path / "doctor")
        except cgroups.NoCgroups as why:
            detail = f"memory and processes only by looking, which a fork bomb outruns for seconds: {why}"
            mend = "systemd-run -p Delegate=yes python -m gpus.agent run, or Delegate=yes in the agent's unit"
            return Finding("limits", False, detail, mend)
        kept = [name for name in cgroups.WANTED if base.version == 1 and name in base.folders]
        if base.version == 2:
            kept = cgroups.controllers_of(base)
        cgroups.leave(base)
        lacking = [name for name in ("memory", "pids") if name not in kept]
        if lacking:
            detail = f"cgroups version {base.version} without {', '.join(lacking)}: kept by looking"
            return Finding("limits", False, detail, "boot with cgroup_enable=memory, or mount that controller")
        return Finding("limits", True, f"{', '.join(kept)} by cgroups version {base.version}")

    def adopt(self, attempts: list[Attempt]) -> None:
        """Find out who keeps the limits, and remove the cgroups that no attempt is in any more."""
        if not self.agent.config.cgroups:
            return
        try:
            self.cgroups = cgroups.find(self.agent.state.path)
        except cgroups.NoCgroups as why:
            log.info("memory and processes are limited by looking, not by cgroups: %s", why)
            return
        cgroups.sweep(self.cgroups, keep={attempt.id for attempt in attempts})
        leftovers.own(self.cgroups)
        if gone := leftovers.clear(self.cgroups):
            log.info("removed the cgroups of agents that are gone: %s", ", ".join(gone))
        atexit.register(cgroups.leave, self.cgroups)
        atexit.register(leftovers.disown, self.cgroups)  # the last that is registered is the first that is called

    def order(self, attempt: Attempt, limit_ms: int) -> Order:
        order = super().order(attempt, limit_ms)
        order.cgroups = self.cgroups
        return order

    def clear(self, attempt: Attempt) -> None:
        if self.cgroups is not None:
            # Also what a program without a sandbox hid from all else that it is known by.
            cgroups.Cgroup(self.cgroups, attempt.id).remove()
        super().clear(attempt)

    def refusal(self, assignment: Assignment) -> str | None:
        return refusal(assignment)
