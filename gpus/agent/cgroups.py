"""Limits that the kernel keeps: one cgroup for each attempt, of version 2 or 1, where this agent may make some.

Version 2 wants the agent's own cgroup to itself (systemd: `Delegate=yes`): a cgroup with processes of its own gives
no limits on. The agent then moves into a leaf, and the attempts' cgroups lie beside it. In the root cgroup, and in
version 1, nothing has to move.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .protocol import Body

WANTED = ("memory", "pids", "cpu")
LEAF = "agent"
REMOVE_SECONDS = 5.0


class NoCgroups(Exception):
    """Say in a sentence why the kernel keeps no limits here."""


@dataclass
class Base(Body):
    """Where the attempts' cgroups are made: one folder for each controller (version 1), or one for all (2)."""

    version: int
    folders: dict = field(default_factory=dict)

    @property
    def paths(self) -> list[Path]:
        return [Path(folder) for folder in dict.fromkeys(self.folders.values())]


def _mounts() -> list[tuple[str, str, str, set[str]]]:
    """List the cgroup mounts as (type, root in the hierarchy, mount point, options)."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            _, _, _, root, point = words.split()[:5]
            found.append((kind, root, point.replace("\\040", " "), set(options.split(","))))
    return found


def _own() -> dict[str, str]:
    """Map each controller (version 1), or "" (version 2), to the path of the agent's own cgroup."""
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), path)
    return own


def _folder(root: str, point: str, path: str) -> Path | None:
    """Find a cgroup's folder below a mount that shows the hierarchy from `root` on."""
    below = os.path.relpath(path, root)
    return None if below.startswith("..") else Path(point, below)


def find(state: Path) -> Base:
    """Make the folder below which attempts get their cgroups, named after the state directory. Raises NoCgroups."""
    name = "gaas-" + hashlib.sha256(os.fsencode(state)).hexdigest()[:12]
    try:
        mounts, own = _mounts(), _own()
        unified = [
            folder
            for kind, root, point, _ in mounts
            if kind == "cgroup2" and "" in own and (folder := _folder(root, point, own[""])) is not None
        ]
        for folder in unified:
            if set(WANTED[:2]) <= _controllers(folder):
                return _unified(folder, name)
        legacy = {
            controller: folder
            for kind, root, point, options in mounts
            for controller in WANTED
            if kind == "cgroup"
            and controller in options
            and controller in own
            and (folder := _folder(root, point, own[controller])) is not None
        }
        if "memory" in legacy:
            return _legacy(legacy, name)
    except OSError as error:
        raise NoCgroups(f"{error.filename or 'cgroups'}: {error.strerror}") from error
    raise NoCgroups("no cgroup with a memory controller is mounted where this agent is")


def _controllers(folder: Path) -> set[str]:
    return set((folder / "cgroup.controllers").read_text().split())


def controllers_of(base: Base) -> list[str]:
    """List which of the wanted controllers keep limits below a base of version 2."""
    return [name for name in WANTED if name in _controllers(base.paths[0])]


def _enable(folder: Path) -> None:
    available = _controllers(folder)
    for controller in WANTED:
        if controller in available:
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def _unified(own: Path, name: str) -> Base:
    if own.name == LEAF and (own.parent / "cgroup.subtree_control").read_text().strip():
        own = own.parent  # this process, or the agent before it, has moved there
    elif (own / "cgroup.type").exists():  # the root has no such file, and takes processes beside cgroups
        others = [pid for pid in _pids(own) if pid != os.getpid()]
        if others:
            raise NoCgroups(
                f"the agent's cgroup is not its own ({len(others)} other processes are in it): "
                "start it as a service with Delegate=yes"
            )
        (own / LEAF).mkdir(exist_ok=True)
        (own / LEAF / "cgroup.procs").write_text(str(os.getpid()))
    _enable(own)
    base = own / name
    base.mkdir(exist_ok=True)
    _enable(base)
    return _tried(Base(2, {"": str(base)}))


def _legacy(own: dict[str, Path], name: str) -> Base:
    folders = {}
    for controller, folder in own.items():
        with contextlib.suppress(OSError):
            (folder / name).mkdir(exist_ok=True)
            folders[controller] = str(folder / name)
    if "memory" not in folders:
        raise NoCgroups(f"{own['memory']} cannot be written")
    return _tried(Base(1, folders))


def _tried(base: Base) -> Base:
    probe = Cgroup(base, "probe")
    try:
        probe.make(memory_bytes=64 << 20, tasks=16, gpus=1)
    finally:
        probe.remove()
    return base


def _pids(folder: Path) -> list[int]:
    try:
        return [int(word) for word in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _counter(file: Path, name: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0


class Cgroup:
    """Hold one attempt's processes to its limits."""

    def __init__(self, base: Base, name: str):
        self.version = base.version
        self.folders = {controller: Path(folder, name) for controller, folder in base.folders.items()}
        self._make_again: Callable[[], None] | None = None

    def _put(self, controller: str, values: dict[str, object]) -> None:
        folder = self.folders.get("" if self.version == 2 else controller)
        for name, value in values.items():
            if folder is not None and (folder / name).exists():
                (folder / name).write_text(str(value))

    def make(self, *, memory_bytes: int | None, tasks: int, gpus: int) -> None:
        """Make it with its limits: `tasks` counts threads too, the processor goes by GPUs. Raises OSError."""
        self._make_again = functools.partial(self.make, memory_bytes=memory_bytes, tasks=tasks, gpus=gpus)
        for folder in self.folders.values():
            if not folder.parent.is_dir():  # another agent took it for what a dead one left
                folder.parent.mkdir(exist_ok=True)
                if self.version == 2:
                    _enable(folder.parent)
            folder.mkdir(exist_ok=True)
        keeper = self.folders["" if self.version == 2 else "memory"]
        # In a cgroup without the controller a limit would be a word in the wind.
        (keeper / ("memory.max" if self.version == 2 else "memory.limit_in_bytes")).stat()
        self._put("pids", {"pids.max": tasks})
        if self.version == 2:
            self._put("cpu", {"cpu.weight": min(10_000, 100 * max(1, gpus))})
            # One is not left to go on without what it has lost.
            self._put("memory", {"memory.oom.group": 1})
            if memory_bytes is not None:
                self._put("memory", {"memory.max": memory_bytes, "memory.swap.max": 0})
        else:
            self._put("cpu", {"cpu.shares": min(262_144, 1024 * max(1, gpus))})
            if memory_bytes is not None:
                self._put("memory", {"memory.limit_in_bytes": memory_bytes})
                self._put("memory", {"memory.memsw.limit_in_bytes": memory_bytes})

    def enter(self) -> None:
        """Put the calling process in; what it starts is in it from the beginning.

        While it is empty another agent may take it for what a dead one left: then it is made again.
        """
        try:
            self._enter()
        except FileNotFoundError:
            if self._make_again is None:
                raise
            self._make_again()
            self._enter()

    def _enter(self) -> None:
        for folder in self.folders.values():
            (folder / "cgroup.procs").write_text("0")

    def exists(self) -> bool:
        return any(folder.is_dir() for folder in self.folders.values())

    def out_of_memory_kills(self) -> int:
        if self.version == 2:
            return _counter(self.folders[""] / "memory.events", "oom_kill")
        return _counter(self.folders["memory"] / "memory.oom_control", "oom_kill")

    def refused_forks(self) -> int:
        folder = self.folders.get("" if self.version == 2 else "pids")
        return 0 if folder is None else _counter(folder / "pids.events", "max")

    def pids(self) -> list[int]:
        """List what is in it, as this process's /proc numbers them."""
        return sorted({pid for folder in self.folders.values() for pid in _pids(folder) if pid})

    def kill(self) -> None:
        """Kill whatever is in it. Nothing can fork there from then on."""
        with contextlib.suppress(OSError):
            self._put("pids", {"pids.max": 0})
        for folder in self.folders.values():
            with contextlib.suppress(OSError):
                (folder / "cgroup.kill").write_text("1")
                return
        for pid in self.pids():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def remove(self) -> bool:
        """Kill what is left in it and take it away; say whether it is gone."""
        until = time.monotonic() + REMOVE_SECONDS
        while True:
            for folder in self.folders.values():
                remove_empty(folder)
            if not self.exists():
                return True
            if time.monotonic() > until:
                return False
            self.kill()
            time.sleep(0.01)


def has_processes(folder: Path) -> bool:
    """Say whether anything is in a cgroup or below it."""
    return any(_pids(Path(at)) for at, _, _ in os.walk(folder))


def remove_empty(folder: Path) -> None:
    """Remove a cgroup and those below it; one with a process in it stays."""
    # A program that runs without a sandbox may have made some below.
    for at, names, _ in os.walk(folder, topdown=False):
        for name in names:
            with contextlib.suppress(OSError):
                os.rmdir(os.path.join(at, name))
    with contextlib.suppress(OSError):
        folder.rmdir()


def sweep(base: Base, keep: set[str]) -> list[str]:
    """End and remove the cgroups of attempts that are held no more; name them."""
    names = {path.name for folder in base.paths if folder.is_dir() for path in folder.iterdir() if path.is_dir()}
    for name in names - keep:
        Cgroup(base, name).remove()
    return sorted(names - keep)


def leave(base: Base) -> None:
    """Remove the folder of the attempts, unless some still run."""
    for folder in base.paths:
        with contextlib.suppress(OSError):
            folder.rmdir()
