"""What a program left for the platform to take."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import results, taking
from .backoff import Backoff
from .client import LeaseLost, Refused, StorageAway
from .protocol import OUTPUT, LeftFile

if TYPE_CHECKING:
    from .attempt import Attempt, Exit
    from .client import Client
    from .phase import Phase

log = logging.getLogger("gaas.agent")

STORAGE_AWAY_SECONDS = 600.0
TRIES = 3
MAX_NOTE = 1900
# Nothing more is taken after these: the next file would be refused in the same words.
FINAL = frozenset({"too_many_files"})


@dataclass
class Collected:
    """What `finish` tells of it. `note` is a sentence for the end's detail when the result was not taken."""

    result: Any = None
    note: str = ""
    files: list[LeftFile] = field(default_factory=list)
    files_note: str = ""


def collect(attempt: Attempt, ended: Exit, client: Client, phase: Phase) -> Collected:
    """Take what lies in the attempt's folders, after its last process is gone and before its end is told.

    Called again after the agent was killed in the middle: what the server has is not sent twice. Everything in these
    folders is the program's doing: links, devices and names of any kind. Of what a Client raises, Unreachable lets
    the runner call again and LeaseLost ends the attempt; any other Refused becomes a part of the note.
    """
    folder = attempt.folder / "box" / "output"
    collected = Collected()
    try:
        collected.result = results.read(folder)
    except results.BadResult as bad:
        collected.note = str(bad)
    is_result = "result.json" if collected.result is not None else ""
    found = taking.scan(
        folder,
        most_files=attempt.assignment.max_artifacts,
        most_bytes=attempt.assignment.max_file_bytes,
        most_in_all=_room(attempt),
        wanted=lambda name: name != is_result,
        check=phase.check,
    )
    taker = _Taker(attempt, client, phase)
    for index, file in enumerate(found.files):
        phase.say(f"Taking {file.name}", 100 * index / len(found.files))
        phase.check()
        named, why = taker.take(file)
        if named is None:
            found.leave_out(why, file.name)
        else:
            collected.files.append(named)
    collected.files_note = found.note()[:MAX_NOTE]
    return collected


def _room(attempt: Attempt) -> int:
    """Give the bytes that the program's folders could hold; 0 where there was no limit."""
    order = attempt.order()
    return order.disk_mib << 20 if order is not None else 0


class _Taker:
    """Send files one by one, and say why one was not taken."""

    def __init__(self, attempt: Attempt, client: Client, phase: Phase):
        self._attempt, self._client, self._phase = attempt, client, phase
        self._folder = attempt.folder / "box" / "output"
        self._over = ""
        self._deadline = time.monotonic() + STORAGE_AWAY_SECONDS

    def take(self, file: taking.Found) -> tuple[LeftFile | None, str]:
        why, backoff = self._over, Backoff()
        tries = 0
        while not self._over and tries < TRIES:
            tries += 1
            try:
                named = taking.digest(self._folder, file, self._phase.check)
                taking.send(self._folder, file, named, OUTPUT, self._attempt, self._client, self._phase.check)
                return named, ""
            except StorageAway as away:
                if time.monotonic() >= self._deadline:
                    self._over = "the platform's storage takes nothing"
                tries -= 1
                self._phase.pause(backoff.next(away.retry_after))
            except (taking.Changed, OSError) as error:
                return None, f"it cannot be read ({error})" if isinstance(
                    error, taking.Changed
                ) else "it cannot be read"
            except LeaseLost:
                raise
            except Refused as refused:
                if refused.status == 401:
                    raise
                why = (refused.detail or refused.code).rstrip(".")
                log.warning("%s: %s was not taken: %s", self._attempt, ascii(file.name)[:200], refused)
                if refused.code in FINAL:
                    self._over = why
                elif refused.code != "wrong_hash":
                    return None, why
        return None, self._over or why
