"""The pipes between supervisor and program: output to the log, progress, and bubblewrap's reports."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import clock, durable, progress
from .logfile import LogFile
from .masking import Masker, spellings

CHUNK = 1024 * 1024
# A flood is taken in large pieces: who goes before all others would else be woken for each line.
REST_SECONDS = 0.002
MAX_STATUS_BYTES = 8192


class Streams:
    """Make the pipes, then wait on their reading ends and on signals at once.

    The program gets `output_end` as both of its streams and `progress_end` beside them. `on_loss` is
    called with the reason when the log cannot be written. `secrets` pass neither into the log nor into the progress.
    """

    def __init__(self, log: LogFile, progress_path: Path, on_loss: Callable[[str], None], secrets: Iterable[str] = ()):
        self._log, self._progress_path, self._on_loss = log, progress_path, on_loss
        self._output, self.output_end = os.pipe()
        with contextlib.suppress(OSError):  # beyond what this user's pipes may hold in all
            fcntl.fcntl(self._output, fcntl.F_SETPIPE_SZ, CHUNK)
        side, self.progress_end = os.pipe()
        self._woken, wake = os.pipe()
        os.set_blocking(wake, False)
        # An end of a child shows here at once, not at the next poll.
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        patterns = {spelling for secret in secrets for spelling in spellings(secret)}
        self._maskers = {self._output: Masker(patterns), side: Masker(patterns)}
        self._readers = {self._output: progress.Reader(), side: progress.Reader(bare=True)}
        self._status_fd: int | None = None
        self._status = b""
        self._progress: dict | None = None
        self._progress_at = 0.0
        self._open: set[int] = set()
        self._waited_at = 0.0
        self._selector = selectors.DefaultSelector()
        for fd in (self._output, side, self._woken):
            self._watch(fd)

    def _watch(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._selector.register(fd, selectors.EVENT_READ)
        self._open.add(fd)

    def started(self, given: list[int], status_fd: int | None) -> None:
        """Let go of what the program has now, so that its end closes the pipes."""
        for fd in {self.output_end, self.progress_end, *given}:
            os.close(fd)
        if status_fd is not None:
            self._status_fd = status_fd
            self._watch(status_fd)

    def wait(self, seconds: float) -> None:
        """Wait until there is something to read or a signal came, and take it in."""
        ready = self._selector.select(seconds)
        began = time.monotonic()
        if began - self._waited_at < REST_SECONDS:
            time.sleep(REST_SECONDS)
        self._waited_at = began
        for key, _ in ready:
            self._read(key.fd)

    def drain(self) -> None:
        """Read all that is left; what could write is dead, so this ends."""
        for fd in list(self._open):
            while self._read(fd):
                pass
        for fd in self._readers.keys() & self._open:  # its other end is still held by somebody
            self._take(fd, self._maskers[fd].flush())
        self.keep_progress()
        with contextlib.suppress(OSError):
            self._log.close()

    def _read(self, fd: int) -> bool:
        """Take one chunk; say whether there may be more."""
        try:
            chunk = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._selector.unregister(fd)
            self._open.discard(fd)
            if fd in self._readers:
                self._take(fd, self._maskers[fd].flush())
        elif fd == self._status_fd:
            self._status += chunk[: MAX_STATUS_BYTES - len(self._status)]
        elif fd in self._readers:
            self._take(fd, self._maskers[fd].feed(chunk))
        return bool(chunk)

    def _take(self, fd: int, shown: bytes) -> None:
        if fd == self._output:
            try:
                self._log.write(shown)
            except OSError as error:
                self._on_loss(error.strerror or "unknown")
        self._progress = self._readers[fd].feed(shown) or self._progress

    def keep_progress(self, at_most_each: float = 0.0) -> None:
        """Write the last progress for the agent to find."""
        now = clock.boottime()
        if self._progress is None or now - self._progress_at < at_most_each:
            return
        with contextlib.suppress(OSError):
            durable.write_json(self._progress_path, self._progress, durable=False)
        self._progress, self._progress_at = None, now

    def sandbox_report(self) -> dict[str, Any]:
        """Give what bubblewrap has said so far: `child-pid` at its start, `exit-code` once the command ended."""
        if self._status_fd in self._open:
            self._read(self._status_fd)
        report: dict[str, Any] = {}
        for line in self._status.splitlines():
            with contextlib.suppress(ValueError):
                report |= json.loads(line)
        return report
