"""Tasks that somebody watches: one read for all watchers of a task, by a few threads, when a wake says so.

A watcher holds no thread and no connection while it waits. What was read is kept ready to be sent, so that a hundred
watchers at the end of one log cost one query.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from django.db import OperationalError, close_old_connections, connection

from gaas.lib.retry import is_transient
from tasks.services import watch
from tasks.services.log_archive import LogRemoved
from tasks.services.watch import Sight

T = TypeVar("T")

log = logging.getLogger("app")

THREADS = 4
PIECE_BYTES = 64 * 1024
PIECES_KEPT = 128
RECHECK_SECONDS = 15.0
RECHECK_AT_ONCE = 500


@dataclass(frozen=True)
class Piece:
    """A part of a log as the event that is sent; `next` is the byte to go on from."""

    event: bytes
    next: int


class Feed:
    """Follow one task. `version` grows with each wake; `look` is at least as new as the version before it."""

    def __init__(self, task_id: UUID, pool: Pool) -> None:
        self.task_id, self._pool = task_id, pool
        self.version = 0
        self.watchers = 0
        self.changed_at: Any = None
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._seen: tuple[int, Sight | None] = (-1, None)

    def wake(self) -> None:
        self.version += 1
        self._news.set_result(None)
        self._news = asyncio.get_running_loop().create_future()

    @property
    def news(self) -> asyncio.Future[None]:
        """A future that is done with the next wake; shared, so it must never be cancelled."""
        return self._news

    async def look(self) -> Sight | None:
        version = self.version
        if self._seen[0] < version:
            sight = await self._pool.run(("look", self.task_id, version), lambda: watch.look(self.task_id))
            if self._seen[0] < version:
                self._seen = (version, sight)
        return self._seen[1]

    async def piece(self, attempt: UUID, number: int, offset: int, size: int, *, is_open: bool) -> Piece:
        """Give the event with what the log has from a byte on, up to PIECE_BYTES."""
        end = min(size, offset + PIECE_BYTES)
        key = (attempt, offset, end, is_open)
        kept = self._pool.pieces.get(key)
        if kept is None:
            kept = await self._pool.run(key, lambda: _piece(attempt, number, offset, end, size, is_open))
            self._pool.pieces[key] = kept
            while len(self._pool.pieces) > PIECES_KEPT:
                self._pool.pieces.popitem(last=False)
        return kept

    async def events(self, after: UUID | None) -> list[Any]:
        key = ("events", self.task_id, after, self.version)
        return await self._pool.run(key, lambda: watch.events_after(self.task_id, after))


class Pool:
    """Run reads in a few threads; who asks for what is being read already waits for the same answer."""

    def __init__(self) -> None:
        self.pieces: OrderedDict[Any, Piece] = OrderedDict()
        self.reads = 0
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="feed")
        self._running: dict[Any, asyncio.Future[Any]] = {}

    async def run(self, key: Any, call: Callable[[], T]) -> T:
        running = self._running.get(key)
        if running is None:
            self.reads += 1
            running = asyncio.get_running_loop().run_in_executor(self._threads, _tidily, call)
            self._running[key] = running
            running.add_done_callback(lambda _: self._running.pop(key, None))
        # A watcher that leaves must not take the others' answer with it.
        return await asyncio.shield(running)

    def stop(self) -> None:
        self._threads.shutdown(wait=False)


class Feeds:
    """The watched tasks of this process, woken by `task:<id>` from any thread."""

    def __init__(self) -> None:
        self.pool = Pool()
        self._feeds: dict[str, Feed] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._checking: asyncio.Task[None] | None = None

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def hear(self, topic: str) -> None:
        """Take a topic from any thread; what nobody watches costs one look into a dictionary."""
        loop, task_id = self._loop, topic.removeprefix("task:")
        if task_id in self._feeds and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake, task_id)

    def _wake(self, task_id: str) -> None:
        if feed := self._feeds.get(task_id):
            feed.wake()

    def stop(self) -> None:
        """Wake everybody for the last time; what is being read is finished."""
        for feed in self._feeds.values():
            feed.wake()
        if self._checking is not None:
            self._checking.cancel()
        self.pool.stop()

    @contextlib.contextmanager
    def watching(self, task_id: UUID) -> Iterator[Feed]:
        """Lend the feed of a task to one more watcher."""
        feed = self._feeds.get(str(task_id)) or self._feeds.setdefault(str(task_id), Feed(task_id, self.pool))
        if self._checking is None or self._checking.done():
            self._checking = asyncio.ensure_future(self._check())
        feed.watchers += 1
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                self._feeds.pop(str(task_id), None)

    async def _check(self) -> None:
        """Find what a lost wake hid: one question every RECHECK_SECONDS for all tasks together."""
        while self._feeds:
            await asyncio.sleep(RECHECK_SECONDS)
            ids = [feed.task_id for feed in self._feeds.values()]
            for begin in range(0, len(ids), RECHECK_AT_ONCE):
                some = ids[begin : begin + RECHECK_AT_ONCE]
                try:
                    changes = await self.pool.run(("check", begin), lambda some=some: list(watch.last_changes(some)))  # type: ignore[misc]
                except Exception:
                    log.exception("watched tasks could not be looked at")
                    continue
                for task_id, changed_at in changes:
                    feed = self._feeds.get(str(task_id))
                    if feed is not None and feed.changed_at != changed_at:
                        feed.changed_at = changed_at
                        feed.wake()


def _piece(attempt: UUID, number: int, offset: int, end: int, size: int, is_open: bool) -> Piece:
    try:
        data = watch.piece_of_log(attempt, offset, end - offset)
    except LogRemoved as removed:
        whole, text = size - offset, watch.notice(removed)
    else:
        whole = len(data) if not is_open and offset + len(data) == end else _whole_characters(data)
        text = data[:whole].decode("utf-8", "replace")
    said = {"attempt": str(attempt), "number": number, "offset": offset, "next": offset + whole, "text": text}
    return Piece(event("log", said, f"{attempt}:{offset + whole}"), offset + whole)


def _whole_characters(data: bytes) -> int:
    """Give the length without a character at the end whose rest has not come yet."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if back < length else len(data)
        if byte < 0x80:
            break
    return len(data)


def event(kind: str, data: Any, id_: str = "") -> bytes:
    """Write a server-sent event. JSON has no bare line break, so whatever a program wrote stays inside of it."""
    name = f"id: {id_}\n" if id_ else ""
    return f"{name}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def _tidily(call: Callable[[], T]) -> T:
    """Run in a thread of the pool, and give its database connection back at once."""
    close_old_connections()
    try:
        for pause in (0.02, 0.1, 0.5):
            try:
                return call()
            except OperationalError as error:
                if not is_transient(error):
                    raise
                time.sleep(pause)
        return call()
    finally:
        if not connection.in_atomic_block:
            close_old_connections()
