"""What an attempt needs from elsewhere before its program starts."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from . import durable, names
from .cache import Cache, WrongBytes
from .client import LeaseLost, Refused
from .phase import Unprepared
from .protocol import FAULT_HOST, FAULT_USER, FileToFetch

if TYPE_CHECKING:
    from .attempt import Attempt
    from .client import Client
    from .phase import Phase

TELL_SECONDS = 1.0


def fetch(attempt: Attempt, client: Client, phase: Phase, cache: Cache, *, may_link: bool) -> None:
    """Bring everything into the attempt's `box/input`, and its checkpoint into `box/checkpoint`.

    Called before each start, so again after the agent was killed in the middle. `may_link` where the program cannot
    write to its inputs. Raises phase.Unprepared(fault, code, detail). Of what a Client raises, Unreachable lets the
    runner try again from the beginning and LeaseLost ends the attempt; any other Refused becomes an Unprepared.
    """
    assignment = attempt.assignment
    if not assignment.inputs and not assignment.checkpoint:
        return
    teller = _Teller(phase, assignment.inputs + assignment.checkpoint)
    try:
        _bring(attempt, client, cache, assignment.inputs, attempt.folder / "box" / "input", teller, may_link=may_link)
        checkpoint = attempt.folder / "box" / "checkpoint"
        _bring(attempt, client, cache, assignment.checkpoint, checkpoint, teller, may_link=False)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unprepared(FAULT_HOST, "disk", "The disk of this host has no room for the inputs.") from error
        raise Unprepared(FAULT_HOST, "disk", f"The inputs could not be written: {error.strerror}.") from error


class _Teller:
    """Say how far it is, about each second, and hear whether it is to go on."""

    def __init__(self, phase: Phase, files: list[FileToFetch]):
        self._phase, self._all = phase, sum(file.size for file in files) or 1
        self._done = 0
        self._told_at = 0.0
        self.path = ""

    def begin(self, file: FileToFetch) -> None:
        self.path = file.path
        self._tell()

    def arrived(self, size: int) -> None:
        self._done += size
        self.check()

    def check(self) -> None:
        if time.monotonic() - self._told_at >= TELL_SECONDS:
            self._tell()
            self._phase.check()

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        self._phase.say(f"Fetching {self.path}", 100 * self._done / self._all)


def _bring(
    attempt: Attempt,
    client: Client,
    cache: Cache,
    files: list[FileToFetch],
    folder: Path,
    teller: _Teller,
    *,
    may_link: bool,
) -> None:
    durable.erase(folder)
    folder.mkdir(mode=0o755)
    for file in files:
        if (why := names.problem(file.path)) is not None:
            raise Unprepared(FAULT_HOST, "bad_payload", f"The server names a file that cannot be: {why}.")
        teller.begin(file)
        target = folder / file.path
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)

        def source(offset: int, file: FileToFetch = file) -> Iterator[bytes]:
            for block in client.fetch_file(attempt.id, attempt.epoch, file.id, offset):
                yield block
                teller.arrived(len(block))

        try:
            cache.place(file.sha256, file.size, target, source, may_link=may_link, check=teller.check)
        except WrongBytes as wrong:
            detail = f"{file.path} did not arrive as it was kept: {wrong}."
            raise Unprepared(FAULT_HOST, "input_corrupt", detail) from wrong
        except LeaseLost:
            raise
        except Refused as refused:
            if refused.status == 401:
                raise
            detail = f"{file.path} is not to be had: {refused.detail or refused.code}"
            raise Unprepared(FAULT_USER, "input_missing", detail) from refused
