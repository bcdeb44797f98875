"""What the GPUs do right now, as each sync tells it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import psutil
import pynvml

from .devices import text


def _or_none(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except pynvml.NVMLError:
        return None


def _processes(handle: Any) -> list[int]:
    running = _or_none(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(handle)) or []
    return [process.pid for process in running]


def _sample(handle: Any, own: set[int]) -> dict[str, Any]:
    utilisation = _or_none(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    memory = _or_none(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle).used)
    power = _or_none(lambda: pynvml.nvmlDeviceGetPowerUsage(handle))
    sample = {
        "gpu": text(pynvml.nvmlDeviceGetUUID(handle)),
        "utilisation": utilisation,
        "memory_mib": None if memory is None else int(memory) >> 20,
        "power_w": None if power is None else round(power / 1000, 1),
        "temperature_c": _or_none(lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
        "foreign_processes": sum(pid not in own for pid in _processes(handle)),
    }
    return {name: value for name, value in sample.items() if value is not None}


def _own_processes(supervisors: list[int]) -> set[int]:
    own: set[int] = set()
    for pid in supervisors:
        with contextlib.suppress(psutil.Error):
            own.update(child.pid for child in psutil.Process(pid).children(recursive=True))
    return own


def gpus(supervisors: list[int]) -> list[dict[str, Any]]:
    """Sample every GPU. What stands below the given supervisors is ours; other processes on a GPU are foreign."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        count = _or_none(pynvml.nvmlDeviceGetCount) or 0
        handles = [_or_none(partial(pynvml.nvmlDeviceGetHandleByIndex, index)) for index in range(count)]
        own = _own_processes(supervisors) if any(handles) else set()
        samples = (_or_none(partial(_sample, handle, own)) for handle in handles if handle)
        return [sample for sample in samples if sample]
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
