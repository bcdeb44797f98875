from __future__ import annotations

from gaas.lib.errors import DomainError
from gpus.agent.protocol import PROTOCOL

OLDEST = 1


class ProtocolTooOld(DomainError):
    """State that an agent speaks what this server has forgotten."""

    code = "protocol_unsupported"


class ProtocolTooNew(DomainError):
    """State that an agent speaks what this server has not learned yet."""

    code = "protocol_unsupported"


def check_protocol(protocol: int) -> None:
    """Refuse an agent that cannot be understood, and say which side is to be updated."""
    if protocol < OLDEST:
        raise ProtocolTooOld(
            f"This agent speaks protocol {protocol}, this server {OLDEST} to {PROTOCOL}: install a newer agent.",
            attr="protocol",
        )
    if protocol > PROTOCOL:
        raise ProtocolTooNew(
            f"This agent speaks protocol {protocol}, this server {OLDEST} to {PROTOCOL}:"
            " update the server, or install the agent of the server's version.",
            attr="protocol",
        )
