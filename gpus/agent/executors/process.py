"""Run a task's command as a process of this host, in a sandbox where there is one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import Finding, bubblewrap
from .payload import refusal
from .supervised import Supervised

if TYPE_CHECKING:
    from ..config import Config
    from ..protocol import Assignment


class ProcessExecutor(Supervised):
    """Run programs under bubblewrap, or as they are where the owner said so."""

    name = "process"

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

    def refusal(self, assignment: Assignment) -> str | None:
        return refusal(assignment)
