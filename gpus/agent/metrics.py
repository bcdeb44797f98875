"""What the GPUs do right now, as each sync tells it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

import pynvml

from . import processes
from .devices import Handle, handles, text


def _or_none(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except pynvml.NVMLError:
        return None


def _sample(handle: Handle, own: Own) -> dict[str, Any]:
    """Read one GPU. A MIG slice has no utilisation, power or temperature of its own, and is given none."""
    nvml = handle.nvml
    memory = _or_none(lambda: pynvml.nvmlDeviceGetMemoryInfo(nvml).used)
    running = _or_none(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(nvml))
    sample = {
        "gpu": text(pynvml.nvmlDeviceGetUUID(nvml)),
        "memory_mib": None if memory is None else int(memory) >> 20,
        "foreign_processes": None if running is None else sum(process.pid not in own for process in running),
    }
    if handle.parent is None:
        power = _or_none(lambda: pynvml.nvmlDeviceGetPowerUsage(nvml))
        sample |= {
            "utilisation": _or_none(lambda: pynvml.nvmlDeviceGetUtilizationRates(nvml).gpu),
            "power_w": None if power is None else round(power / 1000, 1),
            "temperature_c": _or_none(lambda: pynvml.nvmlDeviceGetTemperature(nvml, pynvml.NVML_TEMPERATURE_GPU)),
        }
    return {name: value for name, value in sample.items() if value is not None}


class Own:
    """Know which processes are of attempts: below their supervisors, or carrying an attempt's id.

    The id finds what a container engine started, which stands below no supervisor. Read once, when first asked.
    """

    def __init__(self, supervisors: Collection[int], attempts: Collection[str]) -> None:
        self._supervisors, self._attempts = supervisors, attempts
        self._below: set[int] | None = None

    def __contains__(self, pid: int) -> bool:
        if self._below is None:
            among = processes.snapshot()
            self._below = {process.pid for process in processes.descendants(self._supervisors, among)}
        return pid in self._below or any(processes.names_attempt(pid, attempt) for attempt in self._attempts)


def gpus(supervisors: Collection[int], attempts: Collection[str] = ()) -> list[dict[str, Any]]:
    """Sample every GPU and MIG slice; a process on one that is of none of these attempts is foreign."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        own = Own(supervisors, attempts)
        samples = [_or_none(partial(_sample, handle, own)) for handle in _all()]
        return [sample for sample in samples if sample]
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _all() -> Iterator[Handle]:
    for index in range(_or_none(pynvml.nvmlDeviceGetCount) or 0):
        yield from _or_none(partial(handles, index)) or ()
