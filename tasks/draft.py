"""What a submit asks for, in the platform's units. The API's serializer makes it; nothing here is trusted yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from accounts.models import Account
    from tasks.models import Task


@dataclass(frozen=True)
class InputWanted:
    """Name a file for a task: an upload, an artifact of another task, or what an earlier task was given."""

    upload: UUID | None = None
    task: UUID | None = None
    artifact: str = ""
    path: str = ""
    again: dict[str, Any] | None = None


@dataclass(frozen=True)
class Draft:
    """`limit_ms` is wall clock; prices are micro-dollars per GPU-hour; capability 90 is 9.0.

    `limit_ms` None means until somebody ends it; `account` None means the submitter's personal account.
    """

    title: str
    kind: str
    spec: dict[str, Any]
    funding: str
    gpus: int
    limit_ms: int | None
    account: Account | None = None
    min_vram_mib: int | None = None
    gpu_model: str = ""
    min_compute_capability: int | None = None
    labels: dict[str, str] = field(default_factory=dict)
    region: str = ""
    host_id: UUID | None = None
    max_price_per_hour: int | None = None
    priority: int = 0
    retries: int = 0
    interruptible: bool = False
    env: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    max_wait_ms: int | None = None
    cost_code: str = ""
    inputs: tuple[InputWanted, ...] = ()
    retry_of: Task | None = None
    contract_id: UUID | None = None
