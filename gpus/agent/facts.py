"""What this host is, as join and each sync tell it."""

from __future__ import annotations

import os
import platform
import socket

import psutil

from . import VERSION
from .protocol import HostFacts


def _system() -> str:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        name = "Linux"
    return f"{name}, kernel {platform.release()}"


def host_facts(*, is_sandboxed: bool, executors: list[str]) -> HostFacts:
    return HostFacts(
        hostname=socket.gethostname(),
        agent_version=VERSION,
        os=_system(),
        cpu_count=len(os.sched_getaffinity(0)),
        memory_mib=psutil.virtual_memory().total >> 20,
        sandbox="bubblewrap" if is_sandboxed else "none",
        executors=executors,
    )
