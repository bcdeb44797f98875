"""What an agent was told: a TOML file, and flags that override it."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from .slurm import settings as slurm_settings
from .slurm.settings import SlurmSettings


class ConfigError(ValueError):
    """Say which setting is wrong and what it takes."""


@dataclass
class SimulatedGpu:
    """A device that is declared and not there."""

    model: str = "Simulated GPU"
    vram_mib: int = 24_576
    compute_capability: str = "8.0"


@dataclass
class Config:
    """Everything an agent can be told. Names are those of the TOML file."""

    server: str = ""
    state_dir: str = ""
    join_token_file: str = ""
    simulated_gpus: list[SimulatedGpu] = field(default_factory=list)
    unsandboxed: bool = False
    bubblewrap: str = "bwrap"
    extra_ro_binds: list[str] = field(default_factory=list)
    tmp_mib: int = 1024  # size of /tmp inside the sandbox, which is memory
    max_processes: int = 4096  # of one attempt
    cache_mib: int = 20_480  # of inputs that were fetched before
    memory_mib: int = 0  # of one attempt; 0: its part of the host's, by its part of the GPUs
    disk_mib: int = 0  # of one attempt's folders; 0: its part of what is free when it starts
    max_files: int = 1_000_000  # in one attempt's folders
    cgroups: bool = True  # let the kernel keep the limits where it can
    engine: str = ""  # socket of Docker or Podman; empty: the usual places; "none": no containers
    container_gpus: str = "request"  # how containers get GPUs: request (NVIDIA's runtime) or cdi
    container_network: str = "default"  # the network of tasks that ask for one, by the engine's name for it
    ca_file: str = ""
    start_record: str = ""
    boot_id: str = ""
    backoff_base_seconds: float = 1.0
    backoff_cap_seconds: float = 30.0
    stop_programs: bool = False
    slurm: SlurmSettings | None = None  # the [slurm] section: this host stands for a partition

    @property
    def state_path(self) -> Path:
        return Path(self.state_dir).expanduser().absolute()


def default_state_dir() -> str:
    if given := os.environ.get("GAAS_AGENT_STATE"):
        return given
    if os.geteuid() == 0:
        return "/var/lib/gaas-agent"
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return str(Path(home, "gaas-agent").expanduser())


def _simulated(value: Any) -> list[SimulatedGpu]:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= 64:
            raise ConfigError(f"simulated_gpus: {value} is not between 0 and 64")
        return [SimulatedGpu() for _ in range(value)]
    if not isinstance(value, list):
        raise ConfigError("simulated_gpus: give a number, or a table for each device")
    known = {f.name for f in fields(SimulatedGpu)}
    for gpu in value:
        if not isinstance(gpu, dict) or set(gpu) - known:
            raise ConfigError(f"simulated_gpus: each is a table of {', '.join(sorted(known))}")
    return [SimulatedGpu(**gpu) for gpu in value]


def _checked(name: str, kind: str, value: Any) -> Any:
    if name == "simulated_gpus":
        return _simulated(value)
    if name == "slurm":
        try:
            return slurm_settings.read(value)
        except slurm_settings.SlurmSettingError as error:
            raise ConfigError(str(error)) from error
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    wanted: type = {"str": str, "bool": bool, "int": int, "float": float, "list[str]": list}[kind]
    if type(value) is not wanted or (isinstance(value, list) and not all(isinstance(v, str) for v in value)):
        raise ConfigError(f"{name}: {kind} was expected, not {value!r}")
    return value


def load(file: str | None = None, **flags: Any) -> Config:
    """Read the TOML file, if one is named, and lay the given flags over it (None = not given)."""
    settings: dict[str, Any] = {}
    if file:
        try:
            settings = tomllib.loads(Path(file).read_text())
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{file}: {error}") from error
    settings |= {name: value for name, value in flags.items() if value is not None}
    kinds = {f.name: str(f.type) for f in fields(Config)}
    for name in settings:
        if name not in kinds:
            raise ConfigError(f"{name}: no such setting; there are {', '.join(sorted(kinds))}")
    config = Config(**{name: _checked(name, kinds[name], value) for name, value in settings.items()})
    if not config.state_dir:
        config.state_dir = default_state_dir()
    return config
