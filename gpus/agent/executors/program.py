"""One program as its supervisor sees it, whatever it runs in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..verdict import failure

if TYPE_CHECKING:
    from .. import processes
    from ..attempt import Attempt, Order
    from ..streams import Streams


@dataclass(frozen=True)
class Ending:
    """How a program ended that nobody ended: `fault` and why, where that is more than its exit code."""

    fault: str
    code: str
    detail: str


class Program:
    """Start a program once and end it with all that it leaves. All of it is called by the supervisor's one thread.

    `start` may raise OSError, ValueError or subprocess.SubprocessError, which is the host's fault, or
    NotStarted with a reason of its own. `limits_memory`: what it runs in keeps the limit, so that it is not looked for.
    """

    limits_memory = False

    def __init__(self, attempt: Attempt, order: Order, streams: Streams):
        self.attempt, self.order, self.streams = attempt, order, streams
        self.assignment = attempt.assignment

    def start(self) -> None:
        raise NotImplementedError

    def has_ended(self) -> bool:
        """Take in what has happened, and say whether the program itself has ended; what it left may still run."""
        raise NotImplementedError

    def tree(self) -> list[processes.Process]:
        """List all of its processes that are alive, parents first."""
        raise NotImplementedError

    def trouble(self) -> Ending | None:
        """Say why it has to be ended, where what it runs in knows; asked a few times each second."""
        return None

    def terminate(self) -> None:
        """Ask it to end (TERM). Called again and again until it is over: nothing is told twice."""
        raise NotImplementedError

    def is_gone(self) -> bool:
        """Say whether nothing of it is left."""
        return not self.tree()

    def kill(self) -> None:
        """Kill what is left of it, and return when nothing is."""
        raise NotImplementedError

    def exit_code(self) -> int | None:
        """Give the exit code, 128 + N for signal N; None when it is not known."""
        raise NotImplementedError

    def ending(self, exit_code: int | None) -> Ending:
        """Judge an end that nobody asked for and that was no success. Called after `kill`."""
        code, detail = failure(exit_code, self.assignment.payload.get("command"))
        return Ending("user", code, detail)

    def usage(self) -> dict:
        """Give what it used, as far as is known: peak_rss_mib, cpu_seconds. Called after `kill`."""
        return {}


class NotStarted(Exception):
    """State why a program could not be started; `fault` is host or user."""

    def __init__(self, fault: str, code: str, detail: str):
        super().__init__(detail)
        self.fault, self.code, self.detail = fault, code, detail
