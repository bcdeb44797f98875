"""What happens across hosts, GPUs and accounts."""

from gpus.services.failing import note_failure, note_success
from gpus.services.hearing import (
    Heard,
    HostIsRevoked,
    SessionConflict,
    StaleSequence,
    SyncReport,
    hear,
)
from gpus.services.hosts import InvalidJoinToken, join, open_local_host, register_host, wake_hosts
from gpus.services.inventory import GpuOfAnotherHost
from gpus.services.overclaims import note_overclaim
from gpus.services.protocols import ProtocolTooNew, ProtocolTooOld
from gpus.services.reliability import score_hosts, tend_fleet
from gpus.services.samples import read_samples

__all__ = [
    "GpuOfAnotherHost",
    "Heard",
    "HostIsRevoked",
    "InvalidJoinToken",
    "ProtocolTooNew",
    "ProtocolTooOld",
    "SessionConflict",
    "StaleSequence",
    "SyncReport",
    "hear",
    "join",
    "note_failure",
    "note_overclaim",
    "note_success",
    "open_local_host",
    "read_samples",
    "register_host",
    "score_hosts",
    "tend_fleet",
    "wake_hosts",
]
