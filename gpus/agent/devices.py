"""The GPUs of this host: what NVML shows, and what the configuration declares as simulated."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field

import pynvml

from .config import SimulatedGpu
from .protocol import GpuReport

COMMON_NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")


@dataclass
class Devices:
    """What there is to offer. `problem` says why NVML shows nothing; it is no fault on a host without GPUs."""

    gpus: list[GpuReport] = field(default_factory=list)
    nodes: dict[str, str] = field(default_factory=dict)  # uuid -> /dev/nvidiaN
    problem: str = ""

    def nodes_of(self, uuids: list[str]) -> list[str]:
        """List the device nodes that a program on these GPUs needs, and no other GPU's."""
        own = [self.nodes[uuid] for uuid in uuids if uuid in self.nodes]
        return [*own, *(node for node in COMMON_NODES if os.path.exists(node))] if own else []

    def simulated_among(self, uuids: list[str]) -> int:
        return sum(gpu.is_simulated for gpu in self.gpus if gpu.uuid in uuids)


def text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def simulated(declared: list[SimulatedGpu], session: str, first_index: int = 0) -> list[GpuReport]:
    """Make the declared devices; their ids follow from the session, so that a restart shows the same ones."""
    return [
        GpuReport(
            uuid=f"SIM-{uuid.uuid5(uuid.UUID(session), str(number))}",
            index=first_index + number,
            model=gpu.model,
            vram_mib=gpu.vram_mib,
            compute_capability=gpu.compute_capability,
            is_simulated=True,
        )
        for number, gpu in enumerate(declared)
    ]


def _nvml() -> Devices:
    found = Devices()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        found.problem = "no NVIDIA driver is installed (libnvidia-ml.so.1 was not found)"
        return found
    except pynvml.NVMLError as error:
        found.problem = f"the NVIDIA driver does not answer: {error}"
        return found
    try:
        driver = text(pynvml.nvmlSystemGetDriverVersion())
        for index in range(pynvml.nvmlDeviceGetCount()):
            _add(found, index, driver)
    except pynvml.NVMLError as error:
        found.problem = f"the NVIDIA driver does not answer: {error}"
    finally:
        pynvml.nvmlShutdown()
    return found


def _add(found: Devices, index: int, driver: str) -> None:
    """Add one GPU; one that fell off the bus is left out and does not hide the others."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        report = GpuReport(
            uuid=text(pynvml.nvmlDeviceGetUUID(handle)),
            index=index,
            model=text(pynvml.nvmlDeviceGetName(handle)),
            vram_mib=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) >> 20,
            compute_capability=f"{major}.{minor}",
            driver=driver,
        )
        found.nodes[report.uuid] = f"/dev/nvidia{pynvml.nvmlDeviceGetMinorNumber(handle)}"
        found.gpus.append(report)
    except pynvml.NVMLError as error:
        found.problem = f"GPU {index} does not answer: {error}"


def find(declared: list[SimulatedGpu], session: str) -> Devices:
    """List the real devices first, then the simulated ones."""
    found = _nvml()
    found.gpus += simulated(declared, session, first_index=len(found.gpus))
    return found
