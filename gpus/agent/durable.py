"""Files that are whole or absent, whenever the process is killed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a loss of power."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write(path: Path, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace a file in one step.

    The new file has its mode from its first moment, so that a secret is never readable by others.
    `durable=False` leaves out both fsyncs: for what only has to be whole, not to outlive the boot.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(fd, "wb") as out:
            out.write(data)
            if durable:
                out.flush()
                os.fsync(out.fileno())
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    if durable:
        sync_folder(path.parent)


def write_json(path: Path, value: Any, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace a file by a JSON value in one step."""
    write(path, json.dumps(value).encode(), mode=mode, durable=durable)


def overwrite(path: Path, data: bytes) -> None:
    """Write a JSON object into a file that is there, which takes no room. Meanwhile readers find nothing readable."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.pwrite(fd, b"!", 0)
        os.pwrite(fd, data[1:], 1)
        os.ftruncate(fd, len(data))
        os.pwrite(fd, data[:1], 0)
    finally:
        os.close(fd)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None when the file is absent or not one."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def erase(folder: Path) -> None:
    """Remove a folder with whatever a program left in it: closed folders, and trees too deep for recursion."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except (OSError, RecursionError):
        for command in (["chmod", "-R", "u+rwX"], ["rm", "-rf", "--one-file-system"]):
            subprocess.run([*command, "--", str(folder)], stderr=subprocess.DEVNULL, check=False)
