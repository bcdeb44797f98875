"""What is wrong with a host, in words for its owner: computed from the row, each with what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gpus.choices import HostStatus

if TYPE_CHECKING:
    from gpus.models import Host

SKEW_SECONDS = 30
CONFLICT_SHOWN = timedelta(days=1)
OVERCLAIM_SHOWN = timedelta(days=30)


@dataclass(frozen=True)
class Trouble:
    """A stable code, a sentence, and what mends it."""

    code: str
    detail: str
    hint: str

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def troubles(host: Host, now: datetime) -> list[Trouble]:
    """List what its owner should look at, the gravest first."""
    if host.status == HostStatus.REVOKED:
        return []
    found = []
    if host.drained_for:
        found.append(failing(host.drained_for))
    if host.conflict_at is not None and now - host.conflict_at < CONFLICT_SHOWN:
        found.append(two_agents(host.conflict_at))
    if host.foreign_gpus:
        found.append(
            Trouble(
                "gpu_of_another_host",
                f"It reports GPUs that are registered with another host: {', '.join(map(str, host.foreign_gpus))}.",
                "Retire them there, or revoke that host, and this one takes them over.",
            )
        )
    if host.overclaimed_at is not None and now - host.overclaimed_at < OVERCLAIM_SHOWN:
        times = "Once" if host.overclaims == 1 else f"{host.overclaims} times"
        found.append(
            Trouble(
                "elapsed_too_long",
                f"{times}, last on {host.overclaimed_at:%Y-%m-%d %H:%M} UTC, its agent claimed over 5 % more time for"
                " an attempt than went by at the server. The server's time was charged.",
                "Install the agent of the server's version, and see whether the machine's clock runs too fast"
                " (a virtual machine that was moved or paused).",
            )
        )
    if abs(host.clock_skew_seconds) > SKEW_SECONDS:
        side = "ahead of" if host.clock_skew_seconds > 0 else "behind"
        found.append(
            Trouble(
                "clock_skew",
                f"Its clock is {abs(host.clock_skew_seconds):.0f} s {side} the server's; times in logs do not agree.",
                "Set the machine's clock by NTP, say with chrony or systemd-timesyncd. Nothing is decided by it.",
            )
        )
    return found


def failing(why: str) -> Trouble:
    return Trouble(
        "failing",
        why,
        "Run `python -m gpus.agent doctor` on the machine and mend what it names; then give it work again (undrain).",
    )


def two_agents(at: datetime) -> Trouble:
    return Trouble(
        "session_conflict",
        f"At {at:%Y-%m-%d %H:%M} UTC a second agent called with this host's secret and was refused.",
        "Stop one of the two; a second machine joins as a host of its own. If the other agent is none of yours, rotate"
        " the secret.",
    )
