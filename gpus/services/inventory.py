"""Which GPUs a host has: taken over from its report when that is another one than last time."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import datetime

from gaas.audit.services import record
from gaas.lib.errors import Conflict
from gpus.agent.protocol import GpuReport
from gpus.capability import capability_number
from gpus.choices import GPUStatus, Visibility
from gpus.models import GPU, Host

# What a report says about a device, by the names of the columns.
REPORTED = ("index", "model", "vram_mib", "compute_capability", "capability_number", "driver", "is_simulated")

# A driver update moves the memory that NVML reports by a little; another device does by more.
SAME_DEVICE_VRAM = 1.1


class GpuOfAnotherHost(Conflict):
    """State that a host reports nothing but GPUs of others."""

    code = "gpu_of_another_host"

    def __init__(self, uuids: list[str]) -> None:
        super().__init__(
            f"{', '.join(uuids)}: registered with another host. Retire a GPU there, or revoke that host,"
            " and this host takes it over.",
            attr="gpus",
        )
        self.uuids = uuids


def inventory_digest(reports: list[GpuReport]) -> str:
    """Name what a host reports; equal names mean that no row has to change."""
    rows = sorted((asdict(report) for report in reports), key=lambda row: row["uuid"])
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def take_inventory(
    *, host: Host, reports: list[GpuReport], heard_before: datetime | None, now: datetime
) -> tuple[bool, list[str]]:
    """Store what a host reports, inside the caller's transaction; returns whether rows changed, and warnings.

    1. Unknown devices become rows; whoever stores a device first has it.
    2. Devices of other hosts are taken over only if nobody holds on to them; else they stay where they are,
       the report is warned of, and an alarm is written once for each. Only such → GpuOfAnotherHost.
    3. Rows follow the report. One that now claims to be another device must be listed by staff again.
    4. Devices no longer reported stay, absent since the sync before.
    """
    reported = {report.uuid: report for report in reversed(reports)}
    warnings = []
    if len(reported) < len(reports):
        warnings.append("gpus: a device is reported more than once; its first entry counts.")
    changed = _add_unknown(host, reported, now)
    rows = {gpu.uuid: gpu for gpu in GPU.objects.filter(uuid__in=reported).select_related("host")}

    foreign = sorted(uuid for uuid, gpu in rows.items() if gpu.host_id != host.pk)
    if foreign:
        for gpu in GPU.objects.filter(uuid__in=foreign).let_go().select_related("host"):
            gpu.move_to_host(host, now=now)
            if host.is_local:
                gpu.offer(by=None, now=now, visibility=Visibility.PUBLIC, accepts_quota=True)
                gpu.list(by=None, now=now)
            rows[gpu.uuid] = gpu
            changed = True
        foreign = [uuid for uuid in foreign if rows[uuid].host_id != host.pk]
    if foreign:
        if len(foreign) == len(reported):
            raise GpuOfAnotherHost(foreign)
        warnings += [f"gpus: {uuid} is registered with another host and was left there." for uuid in foreign]
        sound_foreign_alarm(host=host, uuids=foreign, now=now)

    mine = {uuid: gpu for uuid, gpu in rows.items() if gpu.host_id == host.pk}
    for uuid, gpu in mine.items():
        changed |= _follow(gpu, reported[uuid], is_local=host.is_local, warnings=warnings, now=now)
    GPU.objects.bulk_update(mine.values(), [*REPORTED, "is_present", "last_seen_at", "updated_at"])
    gone = GPU.objects.filter(host=host, is_present=True).exclude(uuid__in=mine)
    changed |= bool(gone.update(is_present=False, last_seen_at=heard_before or now, updated_at=now))

    # With a GPU of another host in it, the report is looked at again each time, since that may be let go.
    host.inventory_hash = "" if foreign else inventory_digest(reports)
    host.foreign_gpus = foreign
    Host.objects.filter(pk=host.pk).update(inventory_hash=host.inventory_hash, foreign_gpus=foreign)
    return changed, warnings


def sound_foreign_alarm(*, host: Host, uuids: list[str], now: datetime) -> None:
    """Write down that a host claims GPUs of others, once for each GPU."""
    if set(uuids) <= set(host.foreign_gpus):
        return
    host.foreign_gpus = sorted(uuids)
    Host.objects.filter(pk=host.pk).update(foreign_gpus=host.foreign_gpus)
    record(action="host.gpu_of_another_host", obj=host, by=None, after={"gpus": host.foreign_gpus}, now=now)


def _add_unknown(host: Host, reported: dict[str, GpuReport], now: datetime) -> bool:
    known = set(GPU.objects.filter(uuid__in=reported).values_list("uuid", flat=True))
    fresh = [
        GPU(
            host=host,
            uuid=uuid,
            last_seen_at=now,
            index=report.index,
            model=report.model,
            vram_mib=report.vram_mib,
            **_terms_of_new(host, now),
        )
        for uuid, report in sorted(reported.items())  # one order for all, or two hosts could deadlock
        if uuid not in known
    ]
    GPU.objects.bulk_create(fresh, ignore_conflicts=True)
    return bool(fresh)


def _terms_of_new(host: Host, now: datetime) -> dict[str, object]:
    """Offer what the server's own machine has to all at once; elsewhere staff looks at it first."""
    if not host.is_local:
        return {}
    return {
        "status": GPUStatus.LISTED,
        "first_listed_at": now,
        "visibility": Visibility.PUBLIC,
        "accepts_quota": True,
    }


def _follow(gpu: GPU, report: GpuReport, *, is_local: bool, warnings: list[str], now: datetime) -> bool:
    new = {**asdict(report), "capability_number": capability_number(report.compute_capability)}
    is_other = (
        gpu.model != report.model
        or (gpu.is_simulated and not report.is_simulated)
        or report.vram_mib > gpu.vram_mib * SAME_DEVICE_VRAM
    )
    if is_other and gpu.first_listed_at is not None and not is_local:
        claim = f"now claims to be {report.model} with {report.vram_mib} MiB, was {gpu.model} with {gpu.vram_mib} MiB"
        gpu.require_new_listing(reason=claim, now=now)
        warnings.append(f"gpus: {gpu.uuid} {claim}; staff must list it again.")
    changed = not gpu.is_present or any(getattr(gpu, name) != new[name] for name in REPORTED)
    for name in REPORTED:
        setattr(gpu, name, new[name])
    gpu.is_present, gpu.last_seen_at, gpu.updated_at = True, now, now
    return changed
