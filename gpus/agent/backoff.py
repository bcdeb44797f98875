"""How long to wait before trying again."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass
class Backoff:
    """Count failures in a row and spread the next tries: full jitter under a doubling ceiling.

    The first ceiling is `base` seconds, the last `cap`. A quarter of the base is the least, so that a
    server that answers errors at once is not called in a tight loop.
    """

    base: float = 1.0
    cap: float = 30.0
    failures: int = 0

    def next(self, at_least: float | None = None) -> float:
        ceiling = min(self.cap, self.base * 2 ** min(self.failures, 16))
        self.failures += 1
        delay = random.uniform(self.base / 4, max(ceiling, self.base / 4))  # noqa: S311
        return max(delay, min(at_least or 0.0, 2 * self.cap))

    def reset(self) -> None:
        self.failures = 0
