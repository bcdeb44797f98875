"""When the loop is to run next; any thread may ask for sooner."""

from __future__ import annotations

import threading
import time


class Alarm:
    """Wake one sleeper at the earliest moment that anybody asked for, but never before the floor."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._at = time.monotonic()
        self._floor = 0.0

    def ring(self, after: float = 0.0) -> None:
        """Ask to be woken within `after` seconds."""
        with self._changed:
            self._at = min(self._at, time.monotonic() + after)
            self._changed.notify_all()

    def not_before(self, after: float) -> None:
        """Hold back all rings for `after` seconds: the server is not to be called meanwhile."""
        with self._changed:
            self._floor = time.monotonic() + after
            self._at = min(self._at, self._floor)

    def lift(self) -> None:
        """Let rings through again at once."""
        with self._changed:
            self._floor = 0.0
            self._changed.notify_all()

    def sleep(self) -> None:
        """Wait for the next ring. What rings from now on is for the next sleep."""
        with self._changed:
            while (left := max(self._at, self._floor) - time.monotonic()) > 0:
                self._changed.wait(min(left, 3600))
            self._at = float("inf")
