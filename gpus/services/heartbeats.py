"""Syncs that say nothing new, written together: while one batch is being committed the next one gathers.

A commit is most of what such a sync costs the database. Nobody waits for a batch to fill, so a lone sync is
written at once. Each sync is answered only after the commit that holds it.
"""

from __future__ import annotations

import logging
import threading

from django.conf import settings
from django.db import DatabaseError, connection

from gpus.sql import Beat, write_beats

log = logging.getLogger("app")


class _Waiting:
    """A heartbeat on its way; `taken` is None until its batch was committed."""

    def __init__(self, beat: Beat) -> None:
        self.beat = beat
        self.taken: bool | None = None


class Heartbeats:
    """Gather the heartbeats of this process's threads."""

    def __init__(self) -> None:
        self._queue: list[_Waiting] = []
        self._gathering, self._writing = threading.Lock(), threading.Lock()

    def renew(self, beat: Beat) -> bool:
        """Write a heartbeat; False when its row is not as it was read (any more), or could not be had at once."""
        mine = _Waiting(beat)
        with self._gathering:
            self._queue.append(mine)
        while mine.taken is None:
            # Whoever gets here first writes for all that wait behind.
            with self._writing:
                if mine.taken is None:
                    self._write()
        return mine.taken

    def _write(self) -> None:
        most = max(1, settings.HEARTBEATS_AT_ONCE)
        with self._gathering:
            batch, self._queue = self._queue[:most], self._queue[most:]
        try:
            written = write_beats([waiting.beat for waiting in batch])
        except DatabaseError as error:
            log.warning("heartbeats are written one by one: %s", error)
            written = set()
        except BaseException:
            for waiting in batch:
                waiting.taken = False
            raise
        for waiting in batch:
            waiting.taken = (waiting.beat.host_id, waiting.beat.seq) in written


_heartbeats = Heartbeats()


def renew(beat: Beat) -> bool:
    """Write a heartbeat together with those of other threads; not inside of anybody's transaction."""
    assert not connection.in_atomic_block  # noqa: S101
    return _heartbeats.renew(beat)
