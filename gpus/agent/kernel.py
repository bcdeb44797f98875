"""What Linux offers to keep hold of a process tree: prctl, OOM counters, limits."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

GO_FIRST, GO_BEHIND = -20, 5  # niceness

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own: none can leave the tree."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def go_first(pid: int = 0) -> bool:
    """Let a process (0: this one) go before all that programs do; answers whether this user may."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, GO_FIRST)
    except OSError:
        return False
    return True


def bind_child(supervisor: int, *, may_gain_rights: bool) -> None:
    """Prepare a child between fork and exec: it dies with its supervisor and is the first to go when memory is short.

    `may_gain_rights` is for a setuid bubblewrap; any other program never gains rights, so that the
    supervisor may always end it.
    """
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(1)
    if not may_gain_rights:
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
    # Behind its supervisor, which must find the time to end it, whatever it makes of itself.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, 0 if os.getpriority(os.PRIO_PROCESS, 0) < 0 else GO_BEHIND)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(fd, b"500")
        os.close(fd)


def out_of_memory_kills() -> int:
    """Count what the kernel has killed for want of memory since boot (0 where it does not say)."""
    with contextlib.suppress(OSError), open("/proc/vmstat") as file:
        for line in file:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
