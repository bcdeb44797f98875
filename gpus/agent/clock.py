"""The one clock that decides: monotonic, and it goes on while the machine is suspended."""

from __future__ import annotations

import time
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boottime() -> float:
    """Give the seconds since the machine booted, suspended ones included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Name this boot of the machine; what an earlier boot ran is gone."""
    return BOOT_ID.read_text().strip()
