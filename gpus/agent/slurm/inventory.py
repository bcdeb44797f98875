"""The GPUs of a partition, from what `sinfo` says of its nodes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..protocol import GpuReport
from .commands import Node
from .settings import SlurmSettings

MOST = 256  # as many GPUs as one host may report
_GRES = re.compile(r"gpu(?::(?P<type>[A-Za-z][^:(,]*))?:(?P<count>\d+)(?:\((?P<note>[^)]*)\))?")
_WORKING = frozenset({"idle", "mixed", "allocated", "completing", "planned"})
# Not answering, in maintenance, about to be rebooted or switched off.
_UNFIT_SIGNS = "*$@^!%"


@dataclass(frozen=True)
class Device:
    """One GPU: where it is, and its index there as Slurm counts."""

    uuid: str
    node: str
    type: str
    index: int


@dataclass
class Partition:
    """What there is now. `unknown` are GRES types that the configuration does not describe."""

    devices: dict[str, Device] = field(default_factory=dict)
    reports: list[GpuReport] = field(default_factory=list)
    used: dict[str, set[int]] = field(default_factory=dict)  # node -> indexes that jobs hold
    unknown: set[str] = field(default_factory=set)
    unfit: dict[str, str] = field(default_factory=dict)  # node -> state
    left_out: int = 0


def is_fit(state: str) -> bool:
    """Say whether a node may be given jobs."""
    bare = state.lower().rstrip("-+#~")
    return bare.rstrip(_UNFIT_SIGNS) in _WORKING and not any(sign in bare for sign in _UNFIT_SIGNS)


def types(gres: str) -> list[tuple[str, int]]:
    """Read "gpu:a100:4(S:0-1),gpu:2" as GRES types with their number."""
    return [(found["type"] or "gpu", int(found["count"])) for found in _GRES.finditer(gres)]


def indexes(gres_used: str) -> set[int]:
    """Read the indexes in use from "gpu:a100:3(IDX:0-1,3)"."""
    used: set[int] = set()
    for found in _GRES.finditer(gres_used):
        note = found["note"] or ""
        if note.startswith("IDX:"):
            for part in note[4:].split(","):
                first, _, last = part.partition("-")
                if first.isdecimal():
                    used.update(range(int(first), int(last or first) + 1))
    return used


def take(nodes: list[Node], settings: SlurmSettings, cluster: str) -> Partition:
    """List the GPUs of all nodes that may be given jobs, under ids that stay the same."""
    found = Partition()
    number = 0
    for node in nodes:
        first = 0
        for type_, count in types(node.gres):
            described = settings.gpus.get(type_)
            if described is None:
                found.unknown.add(type_)
            for index in range(first, first + count):
                device = Device(f"SLURM-{cluster}-{node.name}-{index}"[:100], node.name, type_, index)
                number += 1
                if described is None or not is_fit(node.state):
                    continue
                if len(found.reports) >= MOST:
                    found.left_out += 1
                    continue
                found.devices[device.uuid] = device
                found.reports.append(
                    GpuReport(
                        uuid=device.uuid,
                        index=min(number - 1, 4096),
                        model=described.model,
                        vram_mib=described.vram_mib,
                        compute_capability=described.compute_capability,
                        is_simulated=described.simulated,
                    )
                )
            first += count
        if first and not is_fit(node.state):
            found.unfit[node.name] = node.state
        found.used[node.name] = indexes(node.gres_used)
    return found
