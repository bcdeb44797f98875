"""The `[slurm]` section: which partition this host stands for, and what Slurm itself cannot tell of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_PATH = re.compile(r"/[^\s\0'\"\\%]+")


class SlurmSettingError(ValueError):
    """Say which setting of the section is wrong and what it takes."""


@dataclass
class GpuType:
    """What a GRES type is: `sinfo` tells its name and number only."""

    model: str
    vram_mib: int
    compute_capability: str = ""
    simulated: bool = False


@dataclass
class SlurmSettings:
    """Everything that can be told of a cluster. Paths are those on the nodes and on this machine alike."""

    partition: str = ""
    shared_dir: str = ""  # a folder that this machine and all nodes see under one name
    gpus: dict[str, GpuType] = field(default_factory=dict)  # by GRES type; "gpu" for devices without one
    cluster: str = ""  # part of the GPUs' ids; else ClusterName of slurm.conf
    conf: str = ""  # slurm.conf, where it is not in its usual place
    bin_dir: str = ""  # where sbatch and its like are, when not in PATH
    python: str = "python3"  # on the nodes, 3.11 or newer
    account: str = ""
    qos: str = ""
    sbatch_options: list[str] = field(default_factory=list)
    cpus_per_gpu: int = 1
    memory_mib_per_gpu: int = 4096  # for tasks that name no limit of their own
    bind_nodes: bool = True  # ask for the very node whose GPUs were assigned
    device_nodes: str = "/dev/nvidia{index}"  # of real GPUs, by Slurm's index
    poll_seconds: float = 2.0
    nodes_seconds: float = 15.0  # between looks at which nodes and GPUs there are
    command_seconds: float = 30.0  # how long one command of Slurm may take
    settle_seconds: float = 5.0  # how late the shared folder may show what a node wrote
    go_seconds: float = 120.0  # how long a job waits on its node for the server's permission


def read(section: Any) -> SlurmSettings:
    """Check the section of the TOML file. Raises SlurmSettingError."""
    if not isinstance(section, dict):
        raise SlurmSettingError("slurm: give a section, [slurm]")
    known = {f.name: str(f.type) for f in fields(SlurmSettings)}
    if unknown := sorted(set(section) - set(known)):
        raise SlurmSettingError(f"slurm.{unknown[0]}: no such setting; there are {', '.join(known)}")
    values = {
        name: _gpus(value) if name == "gpus" else _plain(name, known[name], value) for name, value in section.items()
    }
    settings = SlurmSettings(**values)
    for name in ("partition", "shared_dir", "gpus"):
        if not getattr(settings, name):
            raise SlurmSettingError(f"slurm.{name}: this is needed")
    if not _NAME.fullmatch(settings.partition):
        raise SlurmSettingError("slurm.partition: name one partition")
    for name in ("shared_dir", "conf", "bin_dir"):
        if (value := getattr(settings, name)) and not _PATH.fullmatch(value):
            raise SlurmSettingError(f"slurm.{name}: give a whole path without blanks, quotes or %")
    seconds = ("poll_seconds", "nodes_seconds", "command_seconds", "go_seconds")
    for name in ("cpus_per_gpu", "memory_mib_per_gpu", *seconds):
        if getattr(settings, name) <= 0:
            raise SlurmSettingError(f"slurm.{name}: give a number above 0")
    if not re.fullmatch(r"[^\s\0'\"\\$`;&|<>()]+", settings.python):
        raise SlurmSettingError("slurm.python: name one program")
    return settings


def _plain(name: str, kind: str, value: Any) -> Any:
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    wanted: type = {"str": str, "bool": bool, "int": int, "float": float, "list[str]": list}[kind]
    if type(value) is not wanted or (isinstance(value, list) and not all(isinstance(v, str) for v in value)):
        raise SlurmSettingError(f"slurm.{name}: {kind} was expected, not {value!r}")
    return value


def _gpus(tables: Any) -> dict[str, GpuType]:
    known = {f.name: str(f.type) for f in fields(GpuType)}
    kinds: dict[str, type] = {"str": str, "int": int, "bool": bool}
    found = {}
    for name, table in tables.items() if isinstance(tables, dict) else ():
        if not isinstance(table, dict) or set(table) - set(known) or not {"model", "vram_mib"} <= set(table):
            raise SlurmSettingError(f"slurm.gpus.{name}: give model and vram_mib, and no other than {', '.join(known)}")
        for key, value in table.items():
            if type(value) is not kinds[known[key]]:
                raise SlurmSettingError(f"slurm.gpus.{name}.{key}: {known[key]} was expected, not {value!r}")
        if not _NAME.fullmatch(name) or table["vram_mib"] <= 0:
            raise SlurmSettingError(f"slurm.gpus.{name}: name a GRES type, and its memory above 0")
        found[name] = GpuType(**table)
    if not found:
        raise SlurmSettingError("slurm.gpus: give a table for each GRES type, such as [slurm.gpus.a100]")
    return found
