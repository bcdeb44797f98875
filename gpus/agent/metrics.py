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


def _sample(handle: Handle) -> dict[str, Any]:
    """Read one GPU. A MIG slice has no utilisation, power or temperature of its own, and is given none."""
    nvml = handle.nvml
    memory = _or_none(lambda: pynvml.nvmlDeviceGetMemoryInfo(nvml).used)
    sample: dict[str, Any] = {"memory_mib": None if memory is None else int(memory) >> 20}
    if handle.parent is None:
        power = _or_none(lambda: pynvml.nvmlDeviceGetPowerUsage(nvml))
        sample |= {
            "utilisation": _or_none(lambda: pynvml.nvmlDeviceGetUtilizationRates(nvml).gpu),
            "power_w": None if power is None else round(power / 1000, 1),
            "temperature_c": _or_none(lambda: pynvml.nvmlDeviceGetTemperature(nvml, pynvml.NVML_TEMPERATURE_GPU)),
        }
    return {name: value for name, value in sample.items() if value is not None}


def _sample_for(handle: Handle, own: Own) -> dict[str, Any]:
    """Read one GPU under its id, with how many run on it that are not `own`."""
    sample = {"gpu": text(pynvml.nvmlDeviceGetUUID(handle.nvml)), **_sample(handle)}
    running = _or_none(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(handle.nvml))
    return sample if running is None else sample | {"foreign_processes": sum(one.pid not in own for one in running)}


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
    own = Own(supervisors, attempts)
    with _all() as found:
        samples = [_or_none(partial(_sample_for, handle, own)) for handle in found]
    return [sample for sample in samples if sample]


def behind(nodes: Collection[str]) -> dict[str, dict[str, Any]]:
    """Sample the whole GPUs behind these device nodes, by node."""
    with _all() as found:
        whole = {_or_none(partial(getattr, handle, "node")): handle for handle in found if handle.parent is None}
        return {node: _sample(handle) for node, handle in whole.items() if node in nodes}


@contextlib.contextmanager
def _all() -> Iterator[list[Handle]]:
    """Give every GPU and MIG slice while the block runs; none where NVML does not answer."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield []
        return
    try:
        count = _or_none(pynvml.nvmlDeviceGetCount) or 0
        yield [handle for index in range(count) for handle in _or_none(partial(handles, index)) or ()]
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
