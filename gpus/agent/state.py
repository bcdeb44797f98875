"""The state directory: who this agent is, and what it holds.

credential.json   server, host id and secret; 0600
session           UUID, kept for ever
seq               upper bound of the sync numbers handed out
lease.json        until when programs may run without news from the server
lock              held by the one agent that runs
attempts/<id>/    one held attempt each, see attempt.py

Where other machines run the programs, attempts/ and lease.json lie in a folder that they see too: `share`.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from . import clock, durable

SEQ_BLOCK = 1000


class StateBusy(Exception):
    """State that another agent runs on this state directory."""


@dataclass
class Credential:
    """What `join` brought home."""

    server: str
    host_id: str
    secret: str

    def __repr__(self) -> str:
        return f"Credential(server={self.server!r}, host_id={self.host_id!r})"


class State:
    """Keep what must outlive the agent's process."""

    def __init__(self, path: Path):
        self.path = path
        self.attempts = path / "attempts"
        self.lease_path = path / "lease.json"
        self.shared = path
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.chmod(path, 0o700)
        self.attempts.mkdir(exist_ok=True, mode=0o700)
        self._lock: int | None = None
        self._seq = self._seq_bound = 0

    def share(self, folder: Path) -> None:
        """Keep the attempts and the lease in a folder of this session under the given one."""
        self.shared = folder / self.session()
        self.attempts, self.lease_path = self.shared / "attempts", self.shared / "lease.json"
        self.attempts.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.chmod(self.shared, 0o700)

    def lock(self) -> None:
        """Take the directory for this process until it ends. Raises StateBusy."""
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            raise StateBusy(f"another agent runs with the state directory {self.path}") from error
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        self._lock = fd

    def is_locked(self) -> bool:
        """Say whether an agent runs on this directory."""
        try:
            fd = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False

    def credential(self) -> Credential | None:
        stored = durable.read_json(self.path / "credential.json")
        if stored is None or not {"server", "host_id", "secret"} <= stored.keys():
            return None
        return Credential(stored["server"], stored["host_id"], stored["secret"])

    def keep_credential(self, credential: Credential) -> None:
        durable.write_json(self.path / "credential.json", asdict(credential))

    def session(self) -> str:
        """Name this agent's session; the same one after each restart."""
        path = self.path / "session"
        try:
            return str(uuid.UUID(path.read_text().strip()))
        except (OSError, ValueError):
            made = str(uuid.uuid4())
            durable.write(path, made.encode())
            return made

    def next_seq(self, past: int = 0) -> int:
        """Give a number that no sync of this session has used.

        The stored bound runs ahead by a block, so that only each thousandth sync waits for the disk; a
        restart begins past it.
        """
        if self._seq_bound == 0:
            try:
                self._seq = self._seq_bound = int((self.path / "seq").read_text())
            except (OSError, ValueError):
                self._seq = self._seq_bound = 0
        self._seq = max(self._seq, past) + 1
        if self._seq >= self._seq_bound:
            self._seq_bound = self._seq + SEQ_BLOCK
            durable.write(self.path / "seq", str(self._seq_bound).encode())
        return self._seq

    @property
    def last_seq(self) -> int:
        return self._seq

    def keep_lease(self, deadline: float) -> None:
        """Let programs run until `deadline` on the boot clock; supervisors read it.

        On a full disk into the old one: a program that fills it must not end all others by their fence.
        """
        left = deadline - clock.boottime()
        lease = {"deadline_boottime": deadline, "left_seconds": round(left, 3)}
        try:
            durable.write_json(self.lease_path, lease, durable=False)
        except OSError as error:
            if error.errno not in durable.NO_ROOM or not self.lease_path.exists():
                raise
            durable.overwrite(self.lease_path, json.dumps(lease).encode())

    def lease_deadline(self) -> float | None:
        return read_lease(self.lease_path)


def read_lease(path: Path) -> float | None:
    """Read until when programs may run; None when nothing readable says so."""
    stored = durable.read_json(path) or {}
    deadline = stored.get("deadline_boottime")
    return float(deadline) if isinstance(deadline, int | float) else None
