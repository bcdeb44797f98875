"""How hosts can run tasks, in the words of the agent's protocol."""

from __future__ import annotations

from collections.abc import Collection

EXECUTORS = ("process", "container", "slurm")


def executor_for(wanted: str, offered: Collection[str]) -> str | None:
    """Name how a host runs what a task wants; a Slurm partition runs programs as jobs. None: it cannot."""
    if wanted in offered:
        return wanted
    return "slurm" if wanted == "process" and "slurm" in offered else None


def runs(offered: Collection[str]) -> frozenset[str]:
    """Give all that tasks may want of a host that offers these."""
    return frozenset(name for name in EXECUTORS if executor_for(name, offered))
