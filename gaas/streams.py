"""Server-sent events of a task: its log and what happens to it, as raw ASGI; no thread or connection per watcher.

`GET /api/live/v1/tasks/<id>/logs?ticket=…` tells `log` (id `<attempt>:<offset>`, which Last-Event-ID resumes),
`attempt`, `task` and `end`, and goes on from attempt to attempt. `…/events` tells `event` (id: the event's), `attempt`,
`task` and `end`. A comment every PING_SECONDS keeps proxies awake. Bytes that are no UTF-8 are shown as U+FFFD in
`text`; offsets count bytes, and the exact ones are at tasks/<id>/logs/. After `end` a reconnect is answered 204, which
tells a browser to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError

from gaas.feeds import Feed, Feeds, event
from gaas.lib import tickets
from gaas.raw import Exchange, Gone, Headers
from gaas.rights import Rights
from tasks.services.files import StorageAway
from tasks.services.watch import Right, Sight, Tried

PREFIX = "/api/live/v1/tasks/"
PING_SECONDS = 15.0
MAX_TAIL = 2**62
OVER = "end"

_PATH = re.compile(rf"{PREFIX}([0-9a-f-]{{36}})/(logs|events)/?", re.ASCII)
_POSITION = re.compile(r"([0-9a-f-]{36}):([0-9]{1,18})", re.ASCII)
_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]

log = logging.getLogger("app")


class BadPosition(ValueError):
    """State which part of where to begin cannot be read."""

    def __init__(self, detail: str, attr: str) -> None:
        super().__init__(detail)
        self.attr = attr


@dataclass
class Wanted:
    """Where a watcher wants to begin: at a byte of an attempt, `tail` bytes before the end, or after an event."""

    attempt: UUID | None = None
    offset: int = 0
    tail: int | None = None
    event: UUID | None = None


class Streams:
    """Answer every stream of this process; at most STREAMS_PER_USER of one person at a time."""

    def __init__(self) -> None:
        self.feeds = Feeds()
        self.rights = Rights(self.feeds.pool)
        self._open: Counter[str] = Counter()
        self._stopping = False

    def stop(self) -> None:
        """End every stream after what it has in hand, so that a stop of the server is quick."""
        self._stopping = True
        self.rights.stop()
        self.feeds.stop()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        exchange = Exchange(scope, receive, send)
        try:
            await self._answer(exchange)
        except Gone:
            pass
        except (DatabaseError, StorageAway) as error:
            # A watcher comes back by itself, and goes on where it was.
            log.warning("a stream ends: %s", error)
            if not exchange.status:
                await exchange.refuse(503, "unavailable", "The database is away. Try again in a moment.")
        finally:
            exchange.log()

    async def _answer(self, exchange: Exchange) -> None:
        path = _PATH.fullmatch(exchange.scope["path"])
        told = (tickets.read(purpose="stream", ticket=exchange.query("ticket")) or "").split(":")
        if path is None:
            await exchange.refuse(404, "not_found", "There is no such stream.")
        elif exchange.scope["method"] != "GET":
            await exchange.refuse(405, "method_not_allowed", "Streams are asked for by GET.")
        elif len(told) not in (2, 3) or told[0] != path[1]:
            detail = f"The ticket is forged, too old or another task's: ask tasks/{{id}}/{path[2]}/stream/ for one."
            await exchange.refuse(401, "not_authenticated", detail)
        else:
            key = UUID(told[2]) if len(told) == 3 else None
            await self._admit(exchange, (UUID(told[0]), UUID(told[1]), key), path[2])

    async def _admit(self, exchange: Exchange, right: Right, what: str) -> None:
        exchange.user = user = str(right[1])
        if exchange.header(b"last-event-id") == OVER:
            await exchange.answer(204)
            return
        if self._open[user] >= settings.STREAMS_PER_USER:
            detail = f"{settings.STREAMS_PER_USER} streams of yours are open. Close one."
            await exchange.refuse(429, "throttled", detail, headers=[(b"retry-after", b"30")])
            return
        try:
            wanted = _wanted(exchange, what)
        except BadPosition as bad:
            await exchange.refuse(400, "invalid", str(bad), bad.attr)
            return
        self._open[user] += 1
        try:
            with self.feeds.watching(right[0]) as feed:
                await self._stream(exchange, feed, what, wanted, right)
        finally:
            self._open[user] -= 1
            if not self._open[user]:
                del self._open[user]

    async def _stream(self, exchange: Exchange, feed: Feed, what: str, wanted: Wanted, right: Right) -> None:
        # The ticket says who may have seen it when it was signed.
        sight = await feed.look() if await self.rights.sees(right) else None
        if sight is None or (wanted.attempt and sight.attempt(wanted.attempt) is None):
            await exchange.refuse(404, "not_found", "There is no such task or attempt (any more).")
            return
        teller = (Log if what == "logs" else Events)(exchange, feed, wanted)
        until = time.monotonic() + settings.STREAM_SECONDS
        gone = asyncio.ensure_future(exchange.until_gone())
        try:
            await exchange.start(200, _HEADERS)
            await exchange.body(b"retry: 2000\n\n", more=True)
            with self.rights.watched(right) as lost:
                await self._tell(teller, {gone, lost}, until)
            if not gone.done():
                with contextlib.suppress(Gone):
                    await exchange.body(b"", seconds=1)
        finally:
            gone.cancel()

    async def _tell(self, teller: Teller, ends: set[asyncio.Future[None]], until: float) -> None:
        """Say all that is new, and wait for more, until one of `ends` is done, the time is over or all is told."""
        exchange, feed = teller.exchange, teller.feed
        while not any(end.done() for end in ends) and not self._stopping and time.monotonic() < until:
            version, news = feed.version, feed.news
            sight = await feed.look()
            if sight is None:
                return
            if await teller.tell(sight):
                await exchange.body(event("end", _state(sight), OVER), more=True, seconds=settings.STREAM_SLOW_SECONDS)
                return
            if feed.version == version:
                done, _ = await asyncio.wait({news, *ends}, timeout=PING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    await exchange.body(b":\n\n", more=True, seconds=settings.STREAM_SLOW_SECONDS)


class Teller:
    """Tell one watcher what is new since the last time."""

    def __init__(self, exchange: Exchange, feed: Feed, wanted: Wanted) -> None:
        self.exchange, self.feed, self.wanted = exchange, feed, wanted
        self._told: dict[str, Any] = {}

    async def tell(self, sight: Sight) -> bool:
        """Say what is new; True when all is told and the task has ended."""
        raise NotImplementedError

    async def send(self, data: bytes) -> None:
        await self.exchange.body(data, more=True, seconds=settings.STREAM_SLOW_SECONDS)

    async def state(self, sight: Sight, tried: Tried | None) -> None:
        """Tell how the task and one attempt stand, where that is news."""
        states: list[tuple[str, Any]] = [("task", _state(sight))]
        if tried is not None:
            attempt = {"attempt": str(tried.id), "number": tried.number, "status": tried.status}
            states.append(("attempt", {**attempt, "progress": tried.progress}))
        for kind, state in states:
            if self._told.get(kind) != state:
                self._told[kind] = state
                await self.send(event(kind, state))


class Log(Teller):
    """Follow the log from attempt to attempt."""

    async def tell(self, sight: Sight) -> bool:
        tried = self._begin(sight) if self.wanted.attempt is None else sight.attempt(self.wanted.attempt)
        while tried is not None:
            await self.state(sight, tried)
            await self._tell_log(tried)
            after = None if tried.is_open or self.wanted.offset < tried.log_size else sight.after(tried.id)
            if after is None:
                return sight.is_over and not tried.is_open
            self.wanted, tried = Wanted(after.id), after
        await self.state(sight, None)
        return sight.is_over

    def _begin(self, sight: Sight) -> Tried | None:
        tried = sight.last_that_wrote()
        if tried is not None:
            tail = self.wanted.tail
            offset = self.wanted.offset if tail is None else max(0, tried.log_size - tail)
            self.wanted = Wanted(tried.id, offset)
        return tried

    async def _tell_log(self, tried: Tried) -> None:
        while self.wanted.offset < tried.log_size:
            at = self.wanted.offset
            piece = await self.feed.piece(tried.id, tried.number, at, tried.log_size, is_open=tried.is_open)
            if piece.next == at:
                return  # the rest of a character is on its way
            self.wanted.offset = piece.next
            await self.send(piece.event)


class Events(Teller):
    """Follow what happens to the task."""

    async def tell(self, sight: Sight) -> bool:
        while sight.last_event and (self.wanted.event is None or self.wanted.event < sight.last_event):
            new = await self.feed.events(self.wanted.event)
            for one in new:
                told = {"from_status": one.from_status, "to_status": one.to_status, "by": one.by_label}
                told |= {"reason": one.reason, "at": one.at.isoformat()}
                await self.send(event("event", told, str(one.pk)))
                self.wanted.event = one.pk
            if not new:
                break
        await self.state(sight, sight.attempts[-1] if sight.attempts else None)
        return sight.is_over


def _state(sight: Sight) -> dict[str, Any]:
    return {
        "status": sight.status,
        "is_cancelling": sight.is_cancelling,
        "exit_code": sight.exit_code,
        "failure_code": sight.failure_code,
    }


def _wanted(exchange: Exchange, what: str) -> Wanted:
    """Read where to begin: Last-Event-ID first, since a browser repeats the address it was given."""
    last = exchange.header(b"last-event-id")
    if what == "events":
        after = exchange.query("after")
        if last or after:
            return Wanted(event=_uuid(last, "Last-Event-ID") if last else _uuid(after, "after"))
        return Wanted()
    if last:
        position = _POSITION.fullmatch(last)
        if position is None:
            raise BadPosition("Last-Event-ID is <attempt>:<byte>, as the stream gave it.", "Last-Event-ID")
        return Wanted(_uuid(position[1], "Last-Event-ID"), int(position[2]))
    attempt = exchange.query("attempt")
    tail = exchange.query("tail")
    return Wanted(
        _uuid(attempt, "attempt") if attempt else None,
        _number(exchange.query("offset") or "0", "offset"),
        _number(tail, "tail") if tail else None,
    )


def _uuid(text: str, attr: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadPosition("Give an id as the stream gave it.", attr) from None


def _number(text: str, attr: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= MAX_TAIL:
        return int(text)
    raise BadPosition("Give a number of bytes from 0.", attr)
