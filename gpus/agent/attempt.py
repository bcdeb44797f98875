"""One held attempt on disk. Its folder is the truth that agent and supervisor share.

assignment.json   what the server wants run; written before anything else is done
order.json        the permission to run: limit, sandbox, devices; written when `start` was granted
lock              held by the supervisor as long as it lives
started.json      the program was started, or was about to be; nobody starts it again
log               what it wrote, both streams, cut at the limit
progress.json     the last progress line
stop              why and how to end it; written by the agent
more              how many milliseconds the server has added to the limit that it was assigned with
container.json    a container was made, or was about to be; its first process once it runs
exit.json         how it ended
elapsed           milliseconds it has run, where another machine runs it
shipped           how many bytes of the log the server had; a hint for the next agent process
box/              the folders that the program sees: work, output, input, checkpoint, tmp
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import cgroups, durable
from .clock import boottime
from .protocol import ENDED, PREPARING, RUNNING, Assignment, Body, WireError

CONTAINER = "container.json"
# Room on the disk for a stop and an end when programs have taken all the rest.
RESERVE, RESERVE_BYTES = "reserve", 64 * 1024
FOLDERS = ("work", "output", "input", "checkpoint", "serve", "tmp")
_SAFE_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}")


class UnsafeId(ValueError):
    """State that an attempt's id cannot be the name of a folder."""


@dataclass
class Order(Body):
    """What the supervisor needs beyond the assignment."""

    limit_ms: int  # from the program's start, as its elapsed time
    lease_path: str
    bubblewrap: str = ""  # empty: no sandbox
    ro_binds: list[str] = field(default_factory=list)
    device_nodes: list[str] = field(default_factory=list)
    simulated_gpus: int = 0
    tmp_mib: int = 1024
    max_processes: int = 4096
    start_record: str = ""
    memory_mib: int = 0  # 0: no limit
    disk_mib: int = 0  # of its folders; 0: no limit
    max_files: int = 1_000_000
    cgroups: cgroups.Base | None = None
    # Of a job in Slurm: which one is meant, how long it may run without news, and the GPUs that Slurm chose.
    job: str = ""
    lease_ms: int = 0
    visible_devices: str | None = None
    engine: str = ""  # socket of the container engine
    container: str = ""  # the name of the container to start


@dataclass
class Exit(Body):
    """How an attempt ended."""

    outcome: str
    fault: str
    code: str
    detail: str
    exit_code: int | None = None
    elapsed_ms: int = 0
    usage: dict = field(default_factory=dict)


class Attempt:
    """Read and write the folder of one attempt."""

    def __init__(self, folder: Path, assignment: Assignment):
        self.folder = folder
        self.assignment = assignment
        self.id, self.epoch = assignment.id, assignment.epoch
        self.log_path = folder / "log"

    def __str__(self) -> str:
        return f"attempt {self.id}"

    @classmethod
    def keep(cls, attempts: Path, assignment: Assignment) -> Attempt:
        """Store a new assignment; only then may anything be done about it.

        The folder appears under its name in one step with its assignment inside.
        """
        if not _SAFE_ID.fullmatch(assignment.id):
            raise UnsafeId(f"attempt id {assignment.id[:80]!r}")
        part = attempts / f".{assignment.id}.part"
        durable.erase(part)
        part.mkdir(mode=0o700)
        for name in ("box", *(f"box/{folder}" for folder in FOLDERS)):
            (part / name).mkdir(mode=0o755)
        durable.write_json(part / "assignment.json", assignment.to_wire())
        durable.write(part / RESERVE, os.urandom(RESERVE_BYTES), durable=False)
        os.rename(part, attempts / assignment.id)
        durable.sync_folder(attempts)
        return cls(attempts / assignment.id, assignment)

    def forget_registry(self) -> None:
        """Keep a registry's password no longer than it is needed."""
        if self.assignment.registry is not None:
            self.assignment.registry = None
            durable.write_json(self.folder / "assignment.json", self.assignment.to_wire())

    @classmethod
    def load(cls, folder: Path) -> Attempt | None:
        """Read a folder that an earlier process left; None when it holds no assignment."""
        try:
            return cls(folder, Assignment.from_wire(durable.read_json(folder / "assignment.json")))
        except WireError:
            return None

    @classmethod
    def load_all(cls, attempts: Path) -> list[Attempt]:
        """Read all that is held; sweep away what was never stored whole or is half removed."""
        held = []
        for folder in sorted(attempts.iterdir()):
            attempt = None if folder.name.startswith(".") else cls.load(folder)
            if attempt is not None:
                held.append(attempt)
            else:
                durable.erase(folder)
        return held

    # -- phases

    @property
    def has_started(self) -> bool:
        return (self.folder / "started.json").exists()

    def started(self) -> dict[str, Any] | None:
        return durable.read_json(self.folder / "started.json")

    def roots(self) -> list[int]:
        """List the processes under which all that belongs to this attempt stands."""
        found = [
            (self.started() or {}).get("supervisor"),
            (durable.read_json(self.folder / CONTAINER) or {}).get("pid"),
        ]
        return [pid for pid in found if isinstance(pid, int)]

    def order(self) -> Order | None:
        """Give what the supervisor was handed; None before the start, and for what cannot be read."""
        try:
            stored = durable.read_json(self.folder / "order.json")
            return None if stored is None else Order.from_wire(stored)
        except WireError:
            return None

    def exit(self) -> Exit | None:
        stored = durable.read_json(self.folder / "exit.json")
        return None if stored is None else Exit.from_wire(stored)

    def keep_exit(self, ended: Exit) -> None:
        """Write how it ended. On a full disk what the program needs no more gives way: its end is worth more."""
        for name in ("tmp", "work", "output"):
            try:
                self._write("exit.json", asdict(ended))
                return
            except OSError as error:
                if error.errno not in durable.NO_ROOM:
                    raise
                durable.erase(self.folder / "box" / name)
        self._write("exit.json", asdict(ended))

    def _write(self, name: str, value: dict[str, Any]) -> None:
        """Write a word that must not be lost, at a full disk into the room that was kept for it."""
        try:
            durable.write_json(self.folder / name, value)
        except OSError as error:
            if error.errno not in durable.NO_ROOM:
                raise
            (self.folder / RESERVE).unlink(missing_ok=True)
            durable.write_json(self.folder / name, value)

    @property
    def state(self) -> str:
        if (self.folder / "exit.json").exists() or not self.folder.exists():
            return ENDED
        return RUNNING if self.has_started else PREPARING

    def elapsed_ms(self) -> int:
        if (ended := self.exit()) is not None:
            return ended.elapsed_ms
        with contextlib.suppress(OSError, ValueError):
            return max(0, int((self.folder / "elapsed").read_text()))
        started = self.started()
        return max(0, int((boottime() - started["at"]) * 1000)) if started and "at" in started else 0

    def is_supervised(self) -> bool:
        """Say whether a supervisor lives: it holds the lock, which only its end gives back."""
        try:
            fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False

    # -- stopping

    def ask_stop(self, reason: str, grace_ms: int) -> None:
        """Ask the supervisor to end the program. A later request with less grace replaces the first.

        An attempt that was forgotten meanwhile has nothing left to stop.
        """
        asked = self.stop_asked()
        if asked is not None and grace_ms >= asked["grace_ms"]:
            return
        with contextlib.suppress(FileNotFoundError):
            self._write("stop", {"reason": reason, "grace_ms": max(0, grace_ms)})

    def stop_asked(self) -> dict[str, Any] | None:
        asked = durable.read_json(self.folder / "stop")
        if asked is None or not isinstance(asked.get("grace_ms"), int) or not isinstance(asked.get("reason"), str):
            return None
        return asked

    # -- going on

    def prolong(self, limit_ms: int) -> None:
        """Note that the server gives it more time than it was assigned with; never less than before.

        On a full disk it is left: each answer says it again, and the room that is kept is for a stop and the end.
        """
        more = limit_ms - self.assignment.limit_ms
        if more > 0 and more > self.more_ms():
            with contextlib.suppress(OSError):
                durable.write_json(self.folder / "more", {"ms": more})

    def more_ms(self) -> int:
        found = (durable.read_json(self.folder / "more") or {}).get("ms")
        return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0

    # -- log

    def log_size(self) -> int:
        try:
            return self.log_path.stat().st_size
        except OSError:
            return 0

    def shipped(self) -> int:
        try:
            return max(self.assignment.log_offset, int((self.folder / "shipped").read_text()))
        except (OSError, ValueError):
            return self.assignment.log_offset

    def keep_shipped(self, offset: int) -> None:
        """Note how far the server is: a hint, which a full disk may well lose."""
        with contextlib.suppress(OSError):
            durable.write(self.folder / "shipped", str(offset).encode(), durable=False)

    def remove(self) -> None:
        """Forget the attempt. It leaves its name first, so that a half-removed one is never loaded."""
        gone = self.folder.with_name(f".{self.folder.name}.gone")
        durable.erase(gone)
        os.rename(self.folder, gone)
        durable.erase(gone)
