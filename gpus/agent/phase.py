"""What an agent does for an attempt before its program starts and after it has ended: told, and ended by a stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .attempt import Attempt

MAX_TEXT = 200


class Closing(Exception):
    """State that the agent stops; the attempt stays as it is for the next one."""


class Discarded(Exception):
    """State that the attempt is no longer ours."""


class Stopped(Exception):
    """State that the attempt is to be ended before its program was started."""


class Unprepared(Exception):
    """State why an attempt cannot be started: `fault` is host (placed elsewhere) or user (the task fails, free)."""

    def __init__(self, fault: str, code: str, detail: str):
        super().__init__(detail)
        self.fault, self.code, self.detail = fault, code, detail


class Phase:
    """Say what goes on, and hear when it is to end.

    Whatever waits does so by `pause`; whatever takes long calls `check` between its steps, at least each
    second. Both raise Closing, Discarded and, while there is a start to prevent, Stopped: let them pass.
    """

    def __init__(self, attempt: Attempt, pause: Callable[[float], None], told: Callable[[dict | None], None]):
        self._attempt, self._pause, self._told = attempt, pause, told

    def say(self, text: str, percent: float | None = None, *, queued: bool = False) -> None:
        """Report one short line, with a percentage where there is one; the server shows the latest.

        `queued`: it waits in a queue that is not this host's own, so the limit for preparations does not run.
        """
        percent = None if percent is None else int(min(100.0, max(0.0, percent)))
        self._told({"text": text[:MAX_TEXT], "percent": percent} | ({"queued": True} if queued else {}))

    def pause(self, seconds: float) -> None:
        self._pause(seconds)
        if not self._attempt.has_started and self._attempt.stop_asked() is not None:
            raise Stopped

    def check(self) -> None:
        self.pause(0)
