"""The GPUs of this host: what NVML shows, and what the configuration declares as simulated."""

from __future__ import annotations

import contextlib
import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pynvml

from .config import SimulatedGpu
from .protocol import GpuReport

CAPABILITIES = Path("/proc/driver/nvidia/capabilities")
COMMON_NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")


@dataclass
class Devices:
    """What there is to offer. `problem` says why NVML shows nothing; it is no fault on a host without GPUs."""

    gpus: list[GpuReport] = field(default_factory=list)
    nodes: dict[str, str] = field(default_factory=dict)  # uuid -> /dev/nvidiaN
    caps: dict[str, list[str]] = field(default_factory=dict)  # uuid of a slice -> what opens it and no other slice
    problem: str = ""
    mend: str = ""

    def note(self, problem: str, error: pynvml.NVMLError) -> Devices:
        """Keep what is wrong and what mends it."""
        self.problem, self.mend = problem, _MENDS.get(error.value, "nvidia-smi")
        return self

    def nodes_of(self, uuids: list[str]) -> list[str]:
        """List the device nodes that a program on these GPUs needs, and no other GPU's."""
        own = [self.nodes[uuid] for uuid in uuids if uuid in self.nodes]
        own += [cap for uuid in uuids for cap in self.caps.get(uuid, [])]
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


# What NVML may say, and what mends it.
_MENDS = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "apt install nvidia-driver",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "modprobe nvidia",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "reboot: the driver was updated and the kernel still runs the old one",
    pynvml.NVML_ERROR_NO_PERMISSION: "usermod -aG video,render <the agent's user>, then log in anew",
    pynvml.NVML_ERROR_GPU_IS_LOST: "reboot: the GPU fell off the bus; `dmesg | grep -i xid` says why",
    pynvml.NVML_ERROR_RESET_REQUIRED: "nvidia-smi --gpu-reset",
}


@dataclass(frozen=True)
class Handle:
    """One GPU, or one MIG slice of it, as NVML holds it while it is initialised."""

    nvml: Any
    index: int
    parent: Any = None  # the whole GPU that a slice is of

    @property
    def whole(self) -> Any:
        return self.nvml if self.parent is None else self.parent

    @property
    def node(self) -> str:
        """Give the device node of the whole GPU. Raises NVMLError."""
        return f"/dev/nvidia{pynvml.nvmlDeviceGetMinorNumber(self.whole)}"


def handles(index: int) -> list[Handle]:
    """Give what a GPU offers: itself, or its MIG slices where it is cut into some. Raises NVMLError."""
    whole = pynvml.nvmlDeviceGetHandleByIndex(index)
    if not _is_cut(whole):
        return [Handle(whole, index)]
    slices = []
    for slot in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(whole)):
        with contextlib.suppress(pynvml.NVMLError_NotFound):
            slices.append(Handle(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(whole, slot), index, whole))
    return slices


def _is_cut(whole: Any) -> bool:
    try:
        return bool(pynvml.nvmlDeviceGetMigMode(whole)[0])
    except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
        return False


def _nvml() -> Devices:
    found = Devices()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound as error:
        return found.note("no NVIDIA driver is installed (libnvidia-ml.so.1 was not found)", error)
    except pynvml.NVMLError as error:
        return found.note(f"the NVIDIA driver does not answer: {error}", error)
    try:
        driver = text(pynvml.nvmlSystemGetDriverVersion())
        for index in range(pynvml.nvmlDeviceGetCount()):
            _add(found, index, driver)
    except pynvml.NVMLError as error:
        found.note(f"the NVIDIA driver does not answer: {error}", error)
    finally:
        pynvml.nvmlShutdown()
    return found


def _add(found: Devices, index: int, driver: str) -> None:
    """Add one GPU; one that fell off the bus is left out and does not hide the others."""
    try:
        offered = handles(index)
        if not offered:
            found.problem = f"GPU {index} is to be cut into MIG slices and has none"
            found.mend = f"nvidia-smi mig -i {index} -cgi 9,9 -C, or nvidia-smi -i {index} -mig 0 for the whole GPU"
        for handle in offered:
            _add_one(found, handle, driver)
    except pynvml.NVMLError as error:
        found.note(f"GPU {index} does not answer: {error}", error)


def _add_one(found: Devices, handle: Handle, driver: str) -> None:
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle.whole)
    report = GpuReport(
        uuid=text(pynvml.nvmlDeviceGetUUID(handle.nvml)),
        index=handle.index,
        model=text(pynvml.nvmlDeviceGetName(handle.nvml)),
        vram_mib=int(pynvml.nvmlDeviceGetMemoryInfo(handle.nvml).total) >> 20,
        compute_capability=f"{major}.{minor}",
        driver=driver,
    )
    found.nodes[report.uuid] = handle.node
    if handle.parent is not None:
        gi, ci = (pynvml.nvmlDeviceGetGpuInstanceId(handle.nvml), pynvml.nvmlDeviceGetComputeInstanceId(handle.nvml))
        at = f"gpu{handle.node.removeprefix('/dev/nvidia')}/mig/gi{gi}"
        caps = [_capability(f"{at}/access"), _capability(f"{at}/ci{ci}/access")]
        found.caps[report.uuid] = [node for node in caps if node]
    found.gpus.append(report)


def _capability(path: str) -> str:
    """Name the device node by which the driver lets a program use one slice; empty where it says none."""
    try:
        told = (CAPABILITIES / path).read_text()
    except OSError:
        return ""
    minors = [line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("DeviceFileMinor:")]
    return f"/dev/nvidia-caps/nvidia-cap{minors[0]}" if minors and minors[0].isdecimal() else ""


def find(declared: list[SimulatedGpu], session: str) -> Devices:
    """List the real devices first, then the simulated ones."""
    found = _nvml()
    found.gpus += simulated(declared, session, first_index=len(found.gpus))
    return found
