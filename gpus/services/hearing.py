"""Whether a sync is taken, and what it says about the host and its GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from gaas.audit.services import record
from gaas.lib.errors import Conflict, DomainError
from gpus.agent.protocol import PROTOCOL, GpuReport, HostFacts
from gpus.choices import REVOKED, SPEAKING, HostStatus
from gpus.models import Host
from gpus.samples import believable
from gpus.services.heartbeats import renew
from gpus.services.inventory import GpuOfAnotherHost, inventory_digest, sound_foreign_alarm, take_inventory
from gpus.services.owners import tell_owners
from gpus.services.protocols import check_protocol
from gpus.services.samples import keep_samples
from gpus.sql import Beat
from gpus.troubles import SKEW_SECONDS, two_agents


class SessionConflict(Conflict):
    """State that another agent was heard with this host's secret within the lease."""

    code = "session_conflict"


class StaleSequence(Conflict):
    """State that a later sync of the same session was taken already."""

    code = "stale_seq"


class HostIsRevoked(DomainError):
    """State that a host was revoked; its agent ends what it runs."""

    status = 401
    code = "host_revoked"


@dataclass
class SyncReport:
    """What a sync says about the host itself; `clock` is its wall clock, shown and never believed."""

    session: UUID
    seq: int
    boot_id: str
    clock: str
    facts: HostFacts
    gpus: list[GpuReport] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)
    protocol: int = PROTOCOL


@dataclass
class Heard:
    """What a taken sync changed.

    `is_new_boot`: what the boot before held is gone. `is_back`: the host was not reachable before.
    `changed_gpus`: rows of GPUs changed, so a waiting task may fit now. `samples`: what its GPUs measured, by uuid.
    """

    is_new_boot: bool
    is_new_session: bool
    is_back: bool
    changed_gpus: bool
    warnings: list[str]
    samples: dict[str, dict[str, float]] = field(default_factory=dict)


def hear(*, host: Host, report: SyncReport, now: datetime) -> Heard:
    """Take a sync of a host, whose row was just read: renew its lease, follow its facts and GPUs.

    Call it outside of a transaction: the alarm of a refused sync must outlive the refusal.

    1. One conditional UPDATE on what was read, judged again if another sync came between.
    2. GPUs, only where the report is another one than last time, in the same transaction.
    3. Metrics last; a bad one is dropped and named.

    Raises StaleSequence, SessionConflict, GpuOfAnotherHost, HostIsRevoked, ProtocolTooOld, ProtocolTooNew.
    """
    check_protocol(report.protocol)
    with _alarms(host, report, now):
        if inventory_digest(report.gpus) == host.inventory_hash:
            heard = _take(host, report, now)
        else:
            with transaction.atomic():
                heard_before = host.last_sync_at
                heard = _take(host, report, now)
                heard.changed_gpus, warnings = take_inventory(
                    host=host, reports=report.gpus, heard_before=heard_before, now=now
                )
                heard.warnings += warnings
    if host.status == HostStatus.JOINING:
        host.activate(now=now)
    heard.samples, warnings = believable(report.metrics, {gpu.uuid for gpu in report.gpus})
    heard.warnings += warnings
    if heard.samples:
        heard.changed_gpus |= keep_samples(host=host, samples=heard.samples, now=now)
    return heard


def _take(host: Host, report: SyncReport, now: datetime) -> Heard:
    """Write session, seq, boot, lease and changed facts if the row still is as it was judged."""
    skew, warnings = _skew(report.clock, now)
    is_first = True
    while True:
        heard = _judge(host, report, now, warnings)
        new = {name: value for name, value in asdict(report.facts).items() if value != getattr(host, name)}
        new |= {
            "session": report.session,
            "seq": report.seq,
            "boot_id": report.boot_id,
            "last_sync_at": now,
            "lease_expires_at": now + timedelta(seconds=settings.LEASE_SECONDS),
            "clock_skew_seconds": skew,
            "protocol": report.protocol,
            "updated_at": now,
        }
        if is_first and _is_heartbeat(host, report, new) and renew(_beat(host, new)):
            break
        is_first = False
        as_read = {"session": host.session, "seq": host.seq, "boot_id": host.boot_id}
        if Host.objects.speaking().filter(pk=host.pk, **as_read).update(**new):
            break
        host.refresh_from_db()
    for name, value in new.items():
        setattr(host, name, value)
    return heard


# What each sync changes.
_HEARD = frozenset(
    {"session", "seq", "boot_id", "last_sync_at", "lease_expires_at", "clock_skew_seconds", "updated_at"}
)


def _is_heartbeat(host: Host, report: SyncReport, new: dict[str, Any]) -> bool:
    """Tell whether a sync says nothing of the host but that it is there; within a transaction none is taken for one."""
    is_known = (host.session, host.boot_id, host.protocol) == (report.session, report.boot_id, report.protocol)
    return is_known and set(new) <= _HEARD | {"protocol"} and not connection.in_atomic_block


def _beat(host: Host, new: dict[str, Any]) -> Beat:
    return Beat(
        host_id=host.pk,
        session=new["session"],
        boot_id=new["boot_id"],
        seq_before=host.seq,
        seq=new["seq"],
        at=new["last_sync_at"],
        lease_expires_at=new["lease_expires_at"],
        skew=new["clock_skew_seconds"],
    )


def _judge(host: Host, report: SyncReport, now: datetime, warnings: list[str]) -> Heard:
    """Say what a sync is to the host as read, or refuse it."""
    if host.status not in SPEAKING:
        raise HostIsRevoked(REVOKED)
    is_new_boot = report.boot_id != host.boot_id
    is_new_session = report.session != host.session
    is_reachable = host.is_reachable(now)
    if not is_new_session and report.seq <= host.seq:
        raise StaleSequence(f"Sync {host.seq} of this session was taken already: go on after it.", attr="seq")
    if is_new_session and host.session is not None and is_reachable and not is_new_boot:
        raise SessionConflict(
            f"Another agent spoke for this host within the last {settings.LEASE_SECONDS:g} seconds:"
            " stop one of the two, or join the other machine as a host of its own.",
            attr="session",
        )
    return Heard(
        is_new_boot=is_new_boot,
        is_new_session=is_new_session,
        is_back=not is_reachable,
        changed_gpus=False,
        warnings=list(warnings),
    )


@contextmanager
def _alarms(host: Host, report: SyncReport, now: datetime) -> Iterator[None]:
    """Write an alarm for a sync that should not exist, once for each session or GPU, after its roll-back."""
    try:
        yield
    except SessionConflict:
        with transaction.atomic():
            others = Host.objects.filter(pk=host.pk).exclude(conflict_session=report.session)
            if others.update(conflict_session=report.session, conflict_at=now):
                intruder = {
                    "session": str(report.session),
                    "boot_id": report.boot_id,
                    "hostname": report.facts.hostname,
                }
                record(action="host.session_conflict", obj=host, by=None, after=intruder, now=now)
                tell_owners(host=host, trouble=two_agents(now), key=f"conflict:{now:%Y-%m-%d}", now=now)
        raise
    except GpuOfAnotherHost as refused:
        with transaction.atomic():
            host.refresh_from_db()
            sound_foreign_alarm(host=host, uuids=refused.uuids, now=now)
        raise


def _skew(clock: str, now: datetime) -> tuple[float, list[str]]:
    """Measure how far a host's wall clock is from the server's; it decides nothing."""
    try:
        skew = round((datetime.fromisoformat(clock) - now).total_seconds(), 1)
    except (ValueError, TypeError):
        return 0.0, ["clock: no ISO 8601 moment with an offset; ignored."]
    if abs(skew) <= SKEW_SECONDS:
        return skew, []
    side = "ahead of" if skew > 0 else "behind"
    return skew, [f"clock: {abs(skew):.0f} s {side} the server's; times in logs will not agree."]
