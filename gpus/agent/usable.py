"""What this host can run attempts by, as last answered, asked beside the loop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from . import executors
from .config import Config

log = logging.getLogger("gaas.agent")

FIRST_SECONDS = 2.0
# An answer is asked for anew each minute; one of this age stands for an engine that neither answers nor refuses.
STALE_SECONDS = 300.0


class Usable:
    """Ask each executor in a thread of its own: an engine that hangs takes half a minute to fail, and syncs go on."""

    def __init__(self, config: Config, changed: Callable[[], None]):
        self._config, self._changed = config, changed
        self._answers: dict[str, tuple[bool, float]] = {}
        self._asking: dict[str, threading.Thread] = {}

    def names(self) -> list[str]:
        """Name what can be used; an answer stands until the next, for STALE_SECONDS at most."""
        since = time.monotonic() - STALE_SECONDS
        return sorted(name for name, (is_usable, at) in list(self._answers.items()) if is_usable and at > since)

    def ask(self, patience: float = 0.0) -> None:
        """Ask those again that are not being asked; wait at most `patience` seconds in all for their answers."""
        for name in executors.names():
            asking = self._asking.get(name)
            if asking is not None and asking.is_alive():
                log.warning("%s: not answered yet whether it can be used; going by what was known", name)
                continue
            self._asking[name] = threading.Thread(target=self._ask, args=[name], name=f"usable-{name}", daemon=True)
            self._asking[name].start()
        until = time.monotonic() + patience
        for asking in self._asking.values():
            asking.join(max(0.0, until - time.monotonic()))

    def _ask(self, name: str) -> None:
        before = name in self.names()
        why = executors.executor_class(name).unusable(self._config)
        is_first = name not in self._answers
        self._answers[name] = why is None, time.monotonic()
        if (why is None) != before or is_first:
            log.info("%s: %s", name, "can be used" if why is None else f"cannot be used: {why}")
        if (why is None) != before:
            self._changed()
