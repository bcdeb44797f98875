"""The checkpoint of a running attempt, kept at the server so that the next attempt can go on from it.

A file belongs to it from the moment it has its final name: write to `name.tmp` and rename. Names that begin with a dot
or end in one of UNFINISHED, and folders of such names, are not looked at. The server has always one whole set: the
files that were there at one look, all of them sent before the set replaces the one before.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from . import taking
from .client import Refused, Unreachable
from .phase import Closing, Discarded
from .protocol import CHECKPOINT, CheckpointRequest, LeftFile

if TYPE_CHECKING:
    from .attempt import Attempt
    from .client import Client

log = logging.getLogger("gaas.agent")

UNFINISHED = (".tmp", ".part", ".partial", ".swp", "~")


class Ended(Exception):
    """State that there is nothing more to keep."""


def is_finished(name: str) -> bool:
    """Say whether a file or folder of this name is a part of a checkpoint."""
    last = name.rpartition("/")[2]
    return not last.startswith(".") and not last.endswith(UNFINISHED)


class Keeper:
    """Look at an attempt's checkpoint now and then, in a thread of its own while it is sent."""

    def __init__(self, client: Client, attempt: Attempt):
        self._client, self._attempt = client, attempt
        self._folder = attempt.folder / "box" / "checkpoint"
        self._kept = {(file.path, file.size, file.sha256) for file in attempt.assignment.checkpoint}
        self._seen: list[taking.Found] | None = None
        self._digests: dict[taking.Found, LeftFile] = {}
        self._looked_at = time.monotonic()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def tick(self) -> None:
        """Look again when it is time; returns at once."""
        if time.monotonic() - self._looked_at < self._attempt.assignment.checkpoint_seconds or self._is_busy():
            return
        self._looked_at = time.monotonic()
        self._thread = threading.Thread(target=self._try, name=f"checkpoint-{self._attempt.id}", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop looking; a file that is on its way is given up after its batch."""
        self._ended.set()

    def last(self, check: taking.Check) -> str:
        """Keep what the program left when it ended; give a sentence when that was not possible. Raises Unreachable."""
        self.end()
        while self._is_busy():
            check()
            time.sleep(0.05)
        try:
            return self._look(check)
        except (taking.Changed, OSError) as error:
            return f"The checkpoint was not kept: {error}."
        except Refused as refused:
            if refused.status == 401 or refused.code == "lease_lost":
                raise
            return f"The checkpoint was not kept: {refused.detail or refused.code}"

    def _is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _try(self) -> None:
        try:
            if why := self._look(self._go_on):
                log.warning("%s: %s", self._attempt, why)
        except (Ended, Closing, Discarded):
            pass
        except (taking.Changed, Unreachable, Refused, OSError) as error:
            # The next look may do better; that the lease is lost is heard elsewhere.
            log.info("%s: its checkpoint was not kept this time: %s", self._attempt, error)

    def _go_on(self) -> None:
        if self._ended.is_set():
            raise Ended

    def _look(self, check: taking.Check) -> str:
        assignment = self._attempt.assignment
        found = taking.scan(
            self._folder,
            most_files=assignment.max_artifacts,
            most_bytes=assignment.max_file_bytes,
            wanted=is_finished,
            check=check,
        )
        if found.files == self._seen:
            return ""
        if found.left_out:
            # A set with holes would be worse than the one before it.
            return f"The checkpoint was not kept. {found.note()}"
        listed = [self._digest(file, check) for file in found.files]
        wanted = {(file.name, file.size, file.sha256) for file in listed}
        if wanted != self._kept:
            for file, named in zip(found.files, listed, strict=True):
                if (named.name, named.size, named.sha256) not in self._kept:
                    taking.send(self._folder, file, named, CHECKPOINT, self._attempt, self._client, check)
            self._client.keep_checkpoint(self._attempt.id, CheckpointRequest(self._attempt.epoch, listed))
            self._kept = wanted
            log.info("%s: its checkpoint of %d files is kept", self._attempt, len(listed))
        self._seen = found.files
        self._digests = dict(zip(found.files, listed, strict=True))
        return ""

    def _digest(self, file: taking.Found, check: taking.Check) -> LeftFile:
        return self._digests.get(file) or taking.digest(self._folder, file, check)
