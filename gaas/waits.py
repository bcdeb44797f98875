"""Agents' long waits: raw ASGI, no thread, no database, no Django request.

`GET /api/agent/v1/wait?host=…&ticket=…&revision=N` answers 200 {"revision": M} once the host's revision is
past N, 204 after WAIT_SECONDS. A wake that comes between a sync's answer and the wait is kept in `_latest`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from django.conf import settings

from gaas.lib import tickets
from gaas.raw import JSON, Exchange

PATH = "/api/agent/v1/wait"


class Waits:
    """Hold the waiting agents of this process and wake them by `host:<id>:<revision>` topics."""

    def __init__(self) -> None:
        self._latest: dict[str, int] = {}
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._heard: deque[str] = deque()
        self._is_due = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def hear(self, topic: str) -> None:
        """Take a topic from any thread; what comes at once is woken in one pass of the loop."""
        if not topic.startswith("host:") or self._loop is None or self._loop.is_closed():
            return
        self._heard.append(topic)
        # The pass lowers the flag before it takes the first: what is added while it is up, that pass still finds.
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon_threadsafe(self._wake_all)

    def stop(self) -> None:
        """Answer every wait with 204 and let no new one hang, so that a stop is quick."""
        self._stopping = True
        for futures in self._waiting.values():
            for future in futures:
                _be_done(future)

    def _wake_all(self) -> None:
        self._is_due = False
        while self._heard:
            self._wake(self._heard.popleft())

    def _wake(self, topic: str) -> None:
        _, _, rest = topic.partition(":")
        host, _, revision = rest.rpartition(":")
        if not revision.isdigit():
            return
        self._latest[host] = max(self._latest.get(host, 0), int(revision))
        for future in self._waiting.get(host, ()):
            _be_done(future)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one wait; every answer has an id and a line in the access log, as those of Django have."""
        exchange = Exchange(scope, receive, send)
        try:
            await self._answer(exchange)
        finally:
            exchange.log(at_once=False)

    async def _answer(self, exchange: Exchange) -> None:
        host = tickets.read(purpose="wait", ticket=exchange.query("ticket"))
        revision = exchange.query("revision")
        if exchange.scope["method"] != "GET":
            await exchange.refuse(405, "method_not_allowed", "Waits are asked by GET.")
        elif host is None:
            await exchange.refuse(401, "not_authenticated", "The ticket is forged or too old: sync for a new one.")
        elif not (revision.isascii() and revision.isdigit() and len(revision) < 19):
            await exchange.refuse(400, "invalid", "Give the revision of your last sync.", "revision")
        else:
            await self._wait(host, int(revision), exchange)

    async def _wait(self, host: str, revision: int, exchange: Exchange) -> None:
        if self._latest.get(host, 0) > revision or self._stopping:
            await self._tell(host, revision, exchange)
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        gone = asyncio.ensure_future(exchange.until_gone())
        gone.add_done_callback(lambda _: _be_done(future))
        end = loop.call_later(settings.WAIT_SECONDS, _be_done, future)
        waiting = self._waiting.setdefault(host, set())
        waiting.add(future)
        try:
            await future
            # All who were woken are told before anything of any of them is put away.
            await self._tell(host, revision, exchange)
        finally:
            end.cancel()
            gone.cancel()
            waiting.discard(future)
            if not waiting and self._waiting.get(host) is waiting:
                del self._waiting[host]

    async def _tell(self, host: str, revision: int, exchange: Exchange) -> None:
        latest = self._latest.get(host, 0)
        if latest > revision:
            await exchange.answer(200, b'{"revision": %d}' % latest, JSON)
        else:
            await exchange.answer(204)


def _be_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
