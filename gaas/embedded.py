"""The worker and the beat inside one process, for `up` and for tests that want the whole house."""

from __future__ import annotations

import logging

import dramatiq
from dramatiq import Worker

from gaas import beat

log = logging.getLogger("app")

STOP_MS = 8_000


class Embedded:
    """Run Dramatiq's worker threads and the periodic jobs until `stop`."""

    def __init__(self, threads: int = 4) -> None:
        self.threads = threads
        self._worker: Worker | None = None
        self._beat: beat.Beat | None = None

    def start(self) -> None:
        broker = dramatiq.get_broker()
        self._worker = Worker(broker, worker_threads=self.threads, worker_timeout=100)
        # Time limits and shutdown notices only work in a process that has said it booted.
        broker.emit_after("process_boot")
        self._worker.start()
        self._beat = beat.Beat()
        self._beat.start()
        for job in beat.jobs():
            # What was due while nothing ran is due now, not one period later.
            beat.fire(job)

    def stop(self) -> None:
        if self._beat is not None:
            self._beat.stop()
        if self._worker is not None:
            self._worker.stop(timeout=STOP_MS)
