"""The processes of this machine as /proc shows them, and how to end a tree of them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

LOOK_SECONDS = 0.5
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    session: int
    state: str
    rss_bytes: int

    @property
    def is_alive(self) -> bool:
        return self.state not in "ZXx"


def _read(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name stands in brackets and may hold anything, brackets too.
            after_name = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return Process(
        pid=pid,
        parent=int(after_name[1]),
        session=int(after_name[3]),
        state=after_name[0].decode(),
        rss_bytes=int(after_name[21]) * PAGE,
    )


def snapshot() -> dict[int, Process]:
    """Read every process there is."""
    found = (_read(int(name)) for name in os.listdir("/proc") if name.isdecimal())
    return {process.pid: process for process in found if process is not None}


def descendants(roots: Iterable[int], among: dict[int, Process]) -> list[Process]:
    """List what stands below the roots, the roots left out, parents before children."""
    children: dict[int, list[Process]] = {}
    for process in among.values():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    seen = set(roots)
    level = list(seen)
    while level:
        below = [child for parent in level for child in children.get(parent, []) if child.pid not in seen]
        seen.update(child.pid for child in below)
        found += below
        level = [child.pid for child in below]
    return found


def _memory_held(process: Process) -> int:
    try:
        with open(f"/proc/{process.pid}/smaps_rollup", "rb") as file:
            pss = [int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:")]
    except PermissionError:
        return process.rss_bytes
    except OSError:
        return 0  # it has ended since it was seen
    return sum(pss)


def memory_held(tree: Iterable[Process], enough: int) -> int:
    """Sum the memory of processes in bytes, what they share divided among those who share it.

    The largest first and only until `enough` is found, or half a second has gone by: a look waits for the process
    looked at, and thousands that fork all the time could hold it up for minutes.
    """
    if not os.path.exists("/proc/self/smaps_rollup"):
        return sum(process.rss_bytes for process in tree)
    until, held = time.monotonic() + LOOK_SECONDS, 0
    for process in sorted(tree, key=lambda process: -process.rss_bytes):
        held += _memory_held(process)
        if held > enough or time.monotonic() > until:
            break
    return held


def names_attempt(pid: int, attempt_id: str) -> bool:
    """Say whether a process carries an attempt's id in its environment."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"GAAS_ATTEMPT_ID={attempt_id}".encode() in file.read().split(b"\0")
    except OSError:
        return False


def survivors(attempt_id: str, supervisor: int | None) -> list[Process]:
    """List what is left of an attempt whose supervisor is gone.

    Ours is what carries the attempt's id in its environment or belongs to the session that the
    supervisor led, and all that stands below. While any member of a session lives the kernel gives its
    number to nobody else; a session whose leader exists is therefore a newer, foreign one.
    """
    among = snapshot()
    session = supervisor if supervisor is not None and supervisor not in among else None
    ours = [
        process
        for process in among.values()
        if process.is_alive
        and process.pid != os.getpid()
        and (process.session == session or names_attempt(process.pid, attempt_id))
    ]
    below = descendants([process.pid for process in ours], among)
    return ours + [process for process in below if process.is_alive]


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def parent_of(pid: int) -> int | None:
    process = _read(pid)
    return None if process is None else process.parent


def send_to(pid: int, number: int) -> None:
    """Send a signal, unless it is gone."""
    _signal(pid, number)


def send(processes: Iterable[Process], number: int) -> None:
    """Send one signal to each."""
    for process in processes:
        _signal(process.pid, number)


def own_children() -> list[int]:
    """List this process's children, orphans that it adopted included (none where the kernel does not list them)."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def kill_all(
    find: Callable[[], list[Process]],
    *,
    is_over: Callable[[], bool],
    children: Callable[[], list[int]] = list,
) -> None:
    """Kill what `find` lists, again and again until `is_over` says that nothing is left.

    A look at /proc is not one moment: a chain of processes that each fork and leave can pass it unseen,
    so an empty list proves nothing. Each round first stops what it sees and looks again, since a stopped
    process cannot fork. Then `children` are killed without a look in between, which is quicker than a
    chain forks: what loses its parent becomes a child of a process that adopts orphans.
    """
    pause = 0.002
    while True:
        stopped: set[int] = set()
        for _ in range(20):
            new = [process for process in find() if process.pid not in stopped]
            if not new:
                break
            send(new, signal.SIGSTOP)
            stopped.update(process.pid for process in new)
        for pid in stopped:
            _signal(pid, signal.SIGKILL)
        for _ in range(100):
            left = children()
            for pid in left:
                _signal(pid, signal.SIGKILL)
            if is_over():
                return
            if not left:
                break
        time.sleep(pause)
        # What sits in an uninterruptible call may take long to die; waiting for it must cost little.
        pause = min(pause * 2, 0.5)
