"""Why a program is ended or has ended, in the words that are reported."""

from __future__ import annotations

import contextlib
import signal
from dataclasses import dataclass

from .protocol import CANCELLED, FAILED, FAULT_HOST, FAULT_NONE

AGENT_STOPPED, NODE_FAILED = "agent_stopped", "node_failed"


@dataclass
class Verdict:
    """Why the program is being ended, which decides how its end is reported."""

    outcome: str
    fault: str
    code: str
    detail: str
    grace_ms: int


def stopped(reason: str, grace_ms: int) -> Verdict:
    """Judge a request to stop: the server's word cancels, an agent or a node that goes away is the host's fault."""
    if reason == AGENT_STOPPED:
        return Verdict(FAILED, FAULT_HOST, reason, "The agent was told to stop its programs.", grace_ms)
    if reason == NODE_FAILED:
        return Verdict(FAILED, FAULT_HOST, reason, "Slurm lost the node on which it ran.", grace_ms)
    return Verdict(CANCELLED, FAULT_NONE, reason, f"The program was stopped: {reason}.", grace_ms)


def failure(exit_code: int | None, command: list[str] | None) -> tuple[str, str]:
    """Give the code and the sentence for an end by the program's own doing, by the shell's conventions."""
    what = f"The command {command[0][:200]!r}" if command else "A command of the script"
    if exit_code == 127:
        return "command_not_found", f"{what} was not found on the host (exit code 127)."
    if exit_code == 126:
        return "command_not_executable", f"{what} cannot be executed (exit code 126)."
    if exit_code is not None and exit_code > 128:
        with contextlib.suppress(ValueError):
            name = signal.Signals(exit_code - 128).name
            return "exit_code", f"The program was ended by {name} (exit code {exit_code})."
    return "exit_code", f"The program ended with exit code {exit_code}."
