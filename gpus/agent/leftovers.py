"""Cgroups whose agent was killed: whose they are is told by a mark, an empty cgroup that names the process."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .cgroups import Base, has_processes, remove_empty

MARK = "owner-"


def _born(pid: int) -> str | None:
    """Give the moment at which a process began, in ticks since boot: its number alone may be another's by now."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _mark() -> str:
    return f"{MARK}{os.getpid()}.{_born(os.getpid())}"


def own(base: Base) -> None:
    """Mark the folder of the attempts as this process's."""
    for folder in base.paths:
        with contextlib.suppress(OSError):
            (folder / _mark()).mkdir(exist_ok=True)


def disown(base: Base) -> None:
    for folder in base.paths:
        with contextlib.suppress(OSError):
            (folder / _mark()).rmdir()


def _is_left(folder: Path) -> bool:
    """Say whether the agent that marked it is gone; one without a mark is nobody's to judge."""
    marks = [path.name.removeprefix(MARK).partition(".") for path in folder.glob(f"{MARK}*")]
    return bool(marks) and not any(pid.isdecimal() and _born(int(pid)) == born for pid, _, born in marks)


def clear(base: Base) -> list[str]:
    """Remove what other agents of this user left beside `base`, where nothing runs and no agent is alive.

    An agent that begins at this moment makes its own again (Cgroup.make).
    """
    removed = []
    for own_folder in base.paths:
        for folder in own_folder.parent.glob("gaas-*"):
            with contextlib.suppress(OSError):
                is_mine = folder.stat().st_uid == os.geteuid()
                # Last, since it is the longest look: programs of a killed agent go on under their supervisors.
                if folder != own_folder and is_mine and _is_left(folder) and not has_processes(folder):
                    remove_empty(folder)
                    removed.append(folder.name)
    return sorted(set(removed))
