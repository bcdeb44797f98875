"""Who was alive when: programs say so themselves, on the clock that all programs of this machine share."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

BEAT_SECONDS = 0.05


@dataclass
class Life:
    """The first and the last moment at which an attempt's program said that it lives, in seconds since boot."""

    attempt: str
    first: float
    last: float
    beats: int = 1


class Witness:
    """Take what programs say of themselves through a pipe with a name, which a sandbox lets them write to."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o755, exist_ok=True)
        folder.chmod(0o755)
        self.pipe = folder / "alive"
        os.mkfifo(self.pipe)
        self.pipe.chmod(0o666)
        # For writing too, so that reading does not end when the last program does.
        self._fd = os.open(self.pipe, os.O_RDWR | os.O_CLOEXEC)
        self._lives: dict[str, dict[str, Life]] = defaultdict(dict)
        self._lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def config(self) -> str:
        """Give the line of an agent's configuration that lets its programs reach the pipe."""
        return f'extra_ro_binds = ["{self.pipe.parent}"]\n'

    def script(self, beats: int, *, each: float = BEAT_SECONDS, until: str = "") -> str:
        """Give a script that lives for about so many beats and says so at each, and once more at its end.

        With `until` it ends as soon as `tell` was called with that word.
        """
        is_told = f"[ -e {self.pipe.parent / until} ]" if until else "false"
        return f"""
i=0
while read up idle < /proc/uptime; do
  echo "$GAAS_TASK_ID $GAAS_ATTEMPT_ID $up" > {self.pipe}
  [ $i -lt {beats} ] || break
  ! {is_told} || break
  sleep {each}
  i=$((i+1))
done
"""

    def tell(self, word: str) -> None:
        """Let the programs end that live until they hear this."""
        (self.pipe.parent / word).touch(mode=0o644)

    def lives(self, task: str) -> list[Life]:
        """Give the lives of a task's programs, in the order in which they began."""
        with self._lock:
            return sorted(self._lives[task].values(), key=lambda life: life.first)

    def last_beat(self, task: str) -> float:
        return max((life.last for life in self.lives(task)), default=0.0)

    def overlaps(self) -> list[str]:
        """Name each pair of programs of one task that lived at one moment."""
        with self._lock:
            tasks = list(self._lives)
        return [
            f"{task}: {one.attempt} until {one.last}, {other.attempt} from {other.first}"
            for task in tasks
            for lives in [self.lives(task)]
            for one, other in pairwise(lives)
            if other.first <= one.last
        ]

    def _read(self) -> None:
        rest = b""
        while True:
            *lines, rest = (rest + os.read(self._fd, 65536)).split(b"\n")
            with self._lock:
                for line in lines:
                    task, attempt, up = line.decode().split()
                    at = float(up)
                    life = self._lives[task].setdefault(attempt, Life(attempt, at, at, 0))
                    life.first, life.last, life.beats = min(life.first, at), max(life.last, at), life.beats + 1
