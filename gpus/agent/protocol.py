"""The wire between server and agent, version 1. Imported by both sides; nothing but the standard library.

Every body is one JSON object. The dataclasses are its shapes; `to_wire` gives plain dicts, `from_wire`
reads the answers of a server (unknown keys are ignored, so that either side may be the newer one).
The server validates what agents send with serializers of its own (tasks/agent_api/serializers.py).

    POST /api/agent/v1/join                      JoinRequest    -> JoinAnswer       (no credential)
    POST /api/agent/v1/sync                      SyncRequest    -> SyncAnswer
    GET  {wait_url}?ticket=…&revision=N          -> 200 {"revision": M} | 204 after the wait period
    POST /api/agent/v1/attempts/{id}/start       StartRequest   -> StartAnswer
    POST /api/agent/v1/attempts/{id}/logs?epoch=E&offset=N   raw bytes -> {"offset": M} | 416 {"offset": M, …}
    GET  /api/agent/v1/attempts/{id}/files/{file}?epoch=E    -> the bytes, by Range (inputs and the checkpoint)
    POST /api/agent/v1/attempts/{id}/artifacts?epoch=E&kind=K&name=…&size=…&sha256=…&offset=N
                                                 raw bytes      -> {"offset": M, "is_whole": …} | 416 {"offset": M, …}
    POST /api/agent/v1/attempts/{id}/checkpoint  CheckpointRequest -> {"kept": N}
    POST /api/agent/v1/attempts/{id}/finish      FinishRequest  -> FinishAnswer

Credential of all but join and wait: `Authorization: Host <secret>`.
A 4xx other than 408, 425, 429 is final; anything else is tried again with full jitter from 1 to 30 s.
409 `lease_lost` on a call about an attempt: end its program and forget it.
"""

from __future__ import annotations

import types
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

PROTOCOL = 1

# States of an attempt that an agent holds, as it reports them.
PREPARING, RUNNING, ENDED = "PREPARING", "RUNNING", "ENDED"

# Outcomes of `finish`; REFUSED is for an offer that this host cannot take (placed elsewhere, free).
SUCCEEDED, FAILED, CANCELLED, TIMED_OUT, REFUSED = "SUCCEEDED", "FAILED", "CANCELLED", "TIMED_OUT", "REFUSED"

# Whose fault an end was.
FAULT_USER, FAULT_HOST, FAULT_PLATFORM, FAULT_NONE = "user", "host", "platform", "none"

# Code of the 401 that says for good that this host is none any more; any other 401 may be a secret that was rotated.
HOST_REVOKED = "host_revoked"

# What to do with an attempt that should not run: end it and report, or end it and forget it.
STOP, DISCARD = "stop", "discard"

MAX_RESULT_BYTES = 64 * 1024
MAX_LOG_BATCH_BYTES = 256 * 1024
MAX_FILE_BATCH_BYTES = 16 * 1024 * 1024
MAX_LISTED_FILES = 10_000

# What a file of an attempt is: a result, or a part of the checkpoint.
OUTPUT, CHECKPOINT = "output", "checkpoint"


class WireError(ValueError):
    """State that a body does not have the shape of the protocol."""


def _read(kind: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin is list:
        if not isinstance(value, list):
            raise WireError(f"{where}: a list was expected")
        (item,) = typing.get_args(kind)
        return [_read(item, v, f"{where}[{i}]") for i, v in enumerate(value)]
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
        return _read(kind, value, where)
    if isinstance(kind, type) and is_dataclass(kind):
        if not isinstance(value, dict):
            raise WireError(f"{where}: an object was expected")
        hints = typing.get_type_hints(kind)
        try:
            return kind(
                **{
                    f.name: _read(hints[f.name], value[f.name], f"{where}.{f.name}")
                    for f in fields(kind)
                    if f.name in value
                }
            )
        except TypeError as missing:
            raise WireError(f"{where}: {missing}") from missing
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (str, int, float, bool) and (type(value) is not kind):
        raise WireError(f"{where}: {kind.__name__} was expected, not {type(value).__name__}")
    return value


class Body:
    """Turn a dataclass into a JSON object and back."""

    def to_wire(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_wire(cls, value: Any) -> Any:
        return _read(cls, value, cls.__name__)


@dataclass
class GpuReport(Body):
    """One device (or MIG slice). `uuid` as NVML gives it; simulated ones are `SIM-…`."""

    uuid: str
    index: int
    model: str
    vram_mib: int
    compute_capability: str = ""  # "9.0"; empty where unknown
    driver: str = ""
    is_simulated: bool = False


@dataclass
class HeldAttempt(Body):
    """What the agent holds of an attempt. Times are durations on the agent's monotonic clock."""

    id: str
    epoch: int
    state: str  # PREPARING | RUNNING | ENDED
    elapsed_ms: int = 0
    log_offset: int = 0  # bytes of log the server has acknowledged
    progress: dict | None = None  # the last GAAS_PROGRESS line: {"step": 3, "of": 10, "metrics": {...}}
    phase: dict | None = None  # what the agent does before the start or after the end: {"text": …, "percent": 40}


@dataclass
class HostFacts(Body):
    """What a host is. `sandbox` is bubblewrap or none; `executors` of process, container, slurm."""

    hostname: str
    agent_version: str
    os: str
    cpu_count: int
    memory_mib: int
    sandbox: str
    executors: list[str] = field(default_factory=list)


@dataclass
class JoinRequest(Body):
    protocol: int
    token: str
    facts: HostFacts


@dataclass
class JoinAnswer(Body):
    host_id: str
    secret: str  # shown once; `Authorization: Host <secret>`


@dataclass
class SyncRequest(Body):
    """All that the host holds. `seq` grows by at least one with each sync of a session."""

    protocol: int
    session: str  # UUID, kept in the agent's state directory across its restarts
    seq: int
    boot_id: str
    clock: str  # ISO 8601 UTC, shown only
    facts: HostFacts
    gpus: list[GpuReport] = field(default_factory=list)
    attempts: list[HeldAttempt] = field(default_factory=list)
    # {"gpu": uuid, "utilisation": %, "memory_mib", "power_w", "temperature_c", "foreign_processes"}
    metrics: list[dict] = field(default_factory=list)


@dataclass
class FileToFetch(Body):
    """A file that an attempt is to find under `path` in its input or checkpoint folder."""

    id: str
    path: str
    size: int
    sha256: str


@dataclass
class Assignment(Body):
    """An attempt that should run here. `limit_ms` counts from the start of its program, as `elapsed_ms` does."""

    id: str
    epoch: int
    task_id: str
    title: str
    kind: str
    executor: str  # process | container | slurm
    payload: dict  # what the kind's handler made: {"command": [...]} or {"script": "..."}, "network": bool, "image"?
    env: dict
    gpu_uuids: list[str]
    limit_ms: int
    grace_ms: int
    log_offset: int = 0  # bytes of this attempt's log that the server has
    max_log_bytes: int = 64 * 1024 * 1024
    registry: dict | None = None  # log-in for the image's registry: {"server", "username", "password"}
    secrets: dict = field(default_factory=dict)  # environment too, but kept out of the log
    # Until it has started: what is to lie in its folders, and what may be taken from them.
    inputs: list[FileToFetch] = field(default_factory=list)
    checkpoint: list[FileToFetch] = field(default_factory=list)
    max_artifacts: int = 1000
    max_file_bytes: int = 20 * 1024**3
    checkpoint_seconds: float = 300
    open_ended: bool = False  # `limit_ms` grows from answer to answer while it is paid for

    @property
    def whole_env(self) -> dict[str, str]:
        """Give all that the task sets in its program's environment."""
        return {**self.env, **self.secrets}


@dataclass
class Stop(Body):
    """An attempt the agent reported that should not run (any more)."""

    id: str
    epoch: int
    verdict: str  # stop: end it, flush the log, `finish` | discard: end it and forget it
    reason: str = ""  # cancelled | completed | lease_lost | unknown
    grace_ms: int = 10_000


@dataclass
class Timers(Body):
    """Seconds. The agent ends its programs `fence_seconds` after the *send* time of its last acknowledged sync."""

    lease_seconds: float = 60
    fence_seconds: float = 330
    sync_busy_seconds: float = 10
    sync_idle_seconds: float = 30
    wait_seconds: float = 30


@dataclass
class RelayOrder(Body):
    """A running attempt that serves: hold a WebSocket to `url?ticket=…` for it (frames.py)."""

    id: str
    epoch: int
    url: str
    ticket: str


@dataclass
class SyncAnswer(Body):
    revision: int
    attempts: list[Assignment]
    stop: list[Stop]
    timers: Timers
    wait_url: str
    ticket: str
    warnings: list[str] = field(default_factory=list)
    host_status: str = "ACTIVE"
    relays: list[RelayOrder] = field(default_factory=list)


@dataclass
class StartRequest(Body):
    epoch: int
    session: str
    seq: int  # the last seq used by a sync: a later sync without this attempt means that it is gone


@dataclass
class StartAnswer(Body):
    limit_ms: int  # what is left for this attempt to run


@dataclass
class LeftFile(Body):
    """A file that an attempt left and that the server has whole."""

    name: str
    size: int
    sha256: str


@dataclass
class CheckpointRequest(Body):
    """Make exactly these files, sent before, the task's checkpoint."""

    epoch: int
    files: list[LeftFile]


@dataclass
class FinishRequest(Body):
    """How an attempt ended. Idempotent: the same outcome again is answered as the first was."""

    epoch: int
    outcome: str  # SUCCEEDED | FAILED | CANCELLED | TIMED_OUT | REFUSED
    fault: str  # user | host | platform | none
    exit_code: int | None
    code: str  # "" or why: exit_code, out_of_memory, time_limit, command_not_found, supervisor_lost, fenced, …
    detail: str  # one sentence
    elapsed_ms: int
    log_size: int
    log_sha256: str
    result: Any = None  # $GAAS_OUTPUT/result.json, parsed
    log_lost_from: int | None = None  # the local log is gone from this byte on
    usage: dict = field(default_factory=dict)  # {"peak_rss_mib": …, "cpu_seconds": …}
    artifacts: list[LeftFile] = field(default_factory=list)  # all results that the server was sent
    files_note: str = ""  # which files were not sent or not taken, and why


@dataclass
class FinishAnswer(Body):
    task_status: str
