"""Run a task's command as a process of this host, in a sandbox where there is one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..attempt import Order
from ..protocol import Assignment
from . import bubblewrap

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# exec by the shell, so that a command that is not there ends with 127 and says so in the log,
# inside a sandbox and outside alike.
EXEC = ("/bin/sh", "-c", 'exec "$@"', "sh")


@dataclass
class Launch:
    """What to execute; `descriptors` are those that the program inherits."""

    argv: list[str]
    env: dict[str, str]
    cwd: str
    descriptors: list[int]
    status_fd: int | None = None  # bubblewrap's reports, where it is used


def refusal(assignment: Assignment) -> str | None:
    """Say in a sentence why this payload cannot be run; None when it can."""
    command, script = assignment.payload.get("command"), assignment.payload.get("script")
    if (command is None) == (script is None):
        return "The payload needs either a command or a script."
    if command is not None and not (
        isinstance(command, list) and command and all(isinstance(word, str) and "\0" not in word for word in command)
    ):
        return "The command is not a list of words."
    if script is not None and not isinstance(script, str):
        return "The script is not text."
    for name, value in assignment.env.items():
        if not isinstance(value, str) or not name or "=" in name or "\0" in name + value:
            return f"The environment variable {name[:80]!r} cannot be set."
    return None


def _command(assignment: Assignment, box: Path, inside: str) -> list[str]:
    if (command := assignment.payload.get("command")) is not None:
        return [*EXEC, *command]
    script = assignment.payload["script"].encode("utf-8", "surrogateescape")
    file = box / "input" / "script"
    file.write_bytes(script)
    file.chmod(0o755)
    path = f"{inside}/input/script"
    return [*EXEC, path] if script.startswith(b"#!") else ["/bin/sh", path]


def environment(assignment: Assignment, order: Order, inside: str, tmp: str, progress_fd: int) -> dict[str, str]:
    """Build the program's whole environment: nothing of the agent's is in it."""
    python_path = [f"{prefix}/bin" for prefix in bubblewrap.python_binds()]
    env = {
        "PATH": ":".join([PATH, *python_path]),
        "HOME": f"{inside}/work",
        "LANG": "C.UTF-8",
        "TMPDIR": tmp,
        **assignment.env,
        "GAAS_TASK_ID": assignment.task_id,
        "GAAS_ATTEMPT_ID": assignment.id,
        "GAAS_OUTPUT": f"{inside}/output",
        "GAAS_INPUT": f"{inside}/input",
        "GAAS_CHECKPOINT": f"{inside}/checkpoint",
        "GAAS_PROGRESS_FD": str(progress_fd),
        "CUDA_VISIBLE_DEVICES": "" if order.simulated_gpus else ",".join(assignment.gpu_uuids),
    }
    if order.simulated_gpus:
        env["GAAS_SIMULATED_GPUS"] = str(order.simulated_gpus)
    return env


def _holding(data: str | bytes) -> int:
    """Open a descriptor from which the data can be read."""
    fd = os.memfd_create("gaas")
    os.write(fd, data if isinstance(data, bytes) else data.encode())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def launch(assignment: Assignment, order: Order, folder: Path, progress_fd: int) -> Launch:
    """Say what to execute. `progress_fd` is the writing end that the program is to have."""
    box = folder / "box"
    if not order.bubblewrap:
        return Launch(
            argv=_command(assignment, box, str(box)),
            env=environment(assignment, order, str(box), str(box / "tmp"), progress_fd),
            cwd=str(box / "work"),
            descriptors=[progress_fd],
        )
    status_read, status_write = os.pipe()
    data = {
        "/etc/passwd": _holding(bubblewrap.PASSWD),
        "/etc/group": _holding(bubblewrap.GROUP),
        "/etc/hosts": _holding(bubblewrap.HOSTS),
        "/etc/nsswitch.conf": _holding(bubblewrap.NSSWITCH),
    }
    network: Any = assignment.payload.get("network")
    arguments = bubblewrap.arguments(
        order.bubblewrap,
        box,
        network=network is True,
        ro_binds=order.ro_binds,
        device_nodes=order.device_nodes,
        tmp_mib=order.tmp_mib,
        data=data,
        status_fd=status_write,
    )
    arguments_fd = _holding(b"".join(os.fsencode(word) + b"\0" for word in arguments))
    return Launch(
        argv=[order.bubblewrap, "--args", str(arguments_fd), "--", *_command(assignment, box, bubblewrap.BOX)],
        env=environment(assignment, order, bubblewrap.BOX, "/tmp", progress_fd),  # noqa: S108
        cwd="/",
        descriptors=[progress_fd, status_write, arguments_fd, *data.values()],
        status_fd=status_read,
    )
