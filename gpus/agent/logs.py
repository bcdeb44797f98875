"""Ship one attempt's log by byte offset. Only what the server says it has counts as shipped."""

from __future__ import annotations

import hashlib
import logging
import time

from .attempt import Attempt
from .backoff import Backoff
from .client import Client, LeaseLost, OffsetWanted, Refused, Unreachable
from .protocol import MAX_LOG_BATCH_BYTES

log = logging.getLogger("gaas.agent")

HINT_SECONDS = 1.0


class LogShipper:
    """Send what the log grew by; after a hole go on from where the server wants it."""

    def __init__(self, client: Client, attempt: Attempt, backoff: Backoff):
        self._client, self._attempt, self._backoff = client, attempt, backoff
        self.acked = attempt.shipped()
        self.lost_from: int | None = None
        self._not_before = self._hint_at = 0.0

    @property
    def is_whole(self) -> bool:
        """Say whether the server has all there is, or all it will ever get."""
        return self.lost_from is not None or self.acked >= self._attempt.log_size()

    def step(self) -> bool:
        """Send one batch if there is one and its time has come; say whether something moved.

        Raises LeaseLost, and Refused with status 401: the other refusals end the shipping, since a log
        that the server will not take must not keep the attempt from its end.
        """
        if self.is_whole or time.monotonic() < self._not_before:
            return False
        return self._send(self.acked, MAX_LOG_BATCH_BYTES)

    def recheck(self) -> None:
        """Ask where the server stands by sending the last byte again: an overlap is trimmed, a hole is named."""
        size = self._attempt.log_size()
        if size and self.lost_from is None:
            self._send(size - 1, 1)

    def _send(self, offset: int, limit: int) -> bool:
        try:
            with self._attempt.log_path.open("rb") as file:
                file.seek(offset)
                batch = file.read(limit)
        except OSError as error:
            log.error("%s: its log cannot be read: %s", self._attempt, error)
            self.lost_from = offset
            return False
        try:
            self._moved_to(self._client.send_log(self._attempt.id, self._attempt.epoch, offset, batch))
        except OffsetWanted as hole:
            self._moved_to(hole.offset)
        except LeaseLost:
            raise
        except Refused as refused:
            if refused.status == 401:
                raise
            log.error("%s: the server does not take its log: %s", self._attempt, refused)
            self.lost_from = offset
            return False
        except Unreachable as error:
            self._not_before = time.monotonic() + self._backoff.next(error.retry_after)
            return False
        self._backoff.reset()
        return True

    def _moved_to(self, offset: int) -> None:
        if offset == self.acked:
            # A server that neither takes nor names another offset is not asked again at once.
            self._not_before = time.monotonic() + self._backoff.next()
        self.acked = offset
        if time.monotonic() >= self._hint_at:
            self._hint_at = time.monotonic() + HINT_SECONDS
            self._attempt.keep_shipped(offset)

    def give_up(self) -> None:
        """End the shipping: what the server lacks from here on is lost."""
        self.lost_from = self.acked

    def summary(self) -> tuple[int, str, int | None]:
        """Give size, SHA-256 and, when bytes are gone, the first one that is.

        A local log shorter than what the server has (a disk that lost its last writes) is such a loss.
        """
        digest, size = hashlib.sha256(), 0
        try:
            with self._attempt.log_path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
                    size += len(chunk)
        except FileNotFoundError:
            pass
        lost_from = self.lost_from
        if lost_from is None and self.acked > size:
            lost_from = self.acked
        return max(size, self.acked), digest.hexdigest(), lost_from
