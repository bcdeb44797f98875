"""Hosts, GPUs and syncs for tests, made by the same verbs that make real ones."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from accounts.models import Account
from gaas.lib import clock
from gpus import services
from gpus.agent.protocol import PROTOCOL, GpuReport, HostFacts
from gpus.models import GPU, Host
from gpus.services import SyncReport

SESSION = UUID("6f0c0f6e-0000-4000-8000-000000000001")
BOOT = "boot-1"


def some_facts(**changes: Any) -> HostFacts:
    facts = {
        "hostname": "rig.example.test",
        "agent_version": "1.0",
        "os": "Debian 12",
        "cpu_count": 8,
        "memory_mib": 64_000,
        "sandbox": "bubblewrap",
        "executors": ["process"],
    }
    return HostFacts(**{**facts, **changes})


def a_device(uuid: str | None = None, **changes: Any) -> GpuReport:
    device = {
        "index": 0,
        "model": "NVIDIA H100 80GB HBM3",
        "vram_mib": 81_559,
        "compute_capability": "9.0",
        "driver": "550.54",
    }
    return GpuReport(**{"uuid": uuid or f"GPU-{uuid4()}", **device, **changes})


def a_sync(seq: int = 1, *, now: datetime | None = None, **changes: Any) -> SyncReport:
    report = {
        "session": SESSION,
        "seq": seq,
        "boot_id": BOOT,
        "clock": (now or clock.now()).isoformat(),
        "facts": some_facts(),
    }
    return SyncReport(**{**report, **changes})


def a_joined_host(account: Account, name: str = "rig", **fields: Any) -> tuple[Host, str]:
    """Give a host whose agent has its secret but was not heard yet."""
    now = clock.now()
    _, token = services.register_host(account=account, name=name, by=None, now=now, **fields)
    return services.join(token=token, facts=some_facts(), protocol=PROTOCOL, now=now)


def an_active_host(account: Account, *devices: GpuReport, name: str = "rig", **fields: Any) -> Host:
    """Give a host that was heard a moment ago with these devices."""
    host, _ = a_joined_host(account, name, **fields)
    services.hear(host=host, report=a_sync(gpus=list(devices)), now=clock.now())
    return Host.objects.select_related("account").get(pk=host.pk)


def a_gpu(account: Account, *, is_listed: bool = True, **offer: Any) -> GPU:
    """Give a GPU of a host of its own that was heard a moment ago; listed and public unless said otherwise."""
    host = an_active_host(account, a_device())
    gpu = host.gpus.select_related("host__account").get()
    now = clock.now()
    gpu.offer(by=None, now=now, **{"visibility": "PUBLIC", "accepts_quota": True, **offer})
    if is_listed:
        gpu.list(by=None, now=now)
    return gpu
