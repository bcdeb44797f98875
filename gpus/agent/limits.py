"""How much of a host one attempt may use: arithmetic alone. Sizes in bytes unless a name says MiB."""

from __future__ import annotations

MIB = 1 << 20
GIB = 1 << 30


def memory_mib(*, asked: object, configured: int, total_mib: int, gpus: int, of_gpus: int) -> int:
    """Give an attempt its part of the memory: by its part of the GPUs, or less where the task or the owner says so.

    A tenth of the host, at least 1 GiB where that is no more than a quarter, stays with the system and the agent.
    """
    left = total_mib - max(total_mib // 10, min(1024, total_mib // 4))
    share = configured or left * min(gpus or 1, of_gpus or 1) // (of_gpus or 1)
    if isinstance(asked, int) and not isinstance(asked, bool) and asked > 0:
        share = min(share, asked)
    return max(64, share)


def disk_mib(*, configured: int, total: int, free: int, gpus: int, of_gpus: int) -> int:
    """Give an attempt its part of what is free on the disk when it starts, a twentieth of the whole left over."""
    if configured:
        return configured
    left = max(0, free - max(total // 20, min(GIB, total // 10)))
    return max(1, left * min(gpus or 1, of_gpus or 1) // (of_gpus or 1) // MIB)
