"""Agents' long waits: raw ASGI, no thread, no database, no Django request.

`GET /api/agent/v1/wait?host=…&ticket=…&revision=N` answers 200 {"revision": M} once the host's revision is
past N, 204 after WAIT_SECONDS. A wake that comes between a sync's answer and the wait is kept in `_latest`.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings

from gaas.lib import context, tickets

PATH = "/api/agent/v1/wait"
_JSON = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


class _Named:
    """Send an answer under its request's id."""

    def __init__(self, send: Any, request_id: str) -> None:
        self.request_id = request_id
        self._send = send

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"].append((b"x-request-id", self.request_id.encode()))
        await self._send(message)


class Waits:
    """Hold the waiting agents of this process and wake them by `host:<id>:<revision>` topics."""

    def __init__(self) -> None:
        self._latest: dict[str, int] = {}
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def hear(self, topic: str) -> None:
        """Take a topic from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, topic)

    def stop(self) -> None:
        """Answer every wait with 204 and let no new one hang, so that a stop is quick."""
        self._stopping = True
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_result(None)

    def _wake(self, topic: str) -> None:
        kind, _, rest = topic.partition(":")
        host, _, revision = rest.rpartition(":")
        if kind != "host" or not revision.isdigit():
            return
        self._latest[host] = max(self._latest.get(host, 0), int(revision))
        for future in self._waiting.get(host, ()):
            if not future.done():
                future.set_result(None)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one wait; every answer has an id, as those of Django have."""
        offered = dict(scope.get("headers", ())).get(b"x-request-id", b"").decode("latin-1")
        send = _Named(send, context.request_id_from(offered))
        query = parse_qs(scope["query_string"].decode("latin-1"))
        ticket, revision = (query.get(name, [""])[0] for name in ("ticket", "revision"))
        host = tickets.read(purpose="wait", ticket=ticket)
        if scope["method"] != "GET":
            await self._refuse(send, 405, "method_not_allowed", "Waits are asked by GET.")
        elif host is None:
            await self._refuse(send, 401, "not_authenticated", "The ticket is forged or too old: sync for a new one.")
        elif not (revision.isascii() and revision.isdigit() and len(revision) < 19):
            await self._refuse(send, 400, "invalid", "Give the revision of your last sync.", "revision")
        else:
            await self._wait(host, int(revision), receive, send)

    async def _wait(self, host: str, revision: int, receive: Any, send: Any) -> None:
        if self._latest.get(host, 0) <= revision and not self._stopping:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            gone = asyncio.ensure_future(_disconnected(receive))
            waiting = self._waiting.setdefault(host, set())
            waiting.add(future)
            try:
                await asyncio.wait({future, gone}, timeout=settings.WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
                waiting.discard(future)
                if not waiting:
                    self._waiting.pop(host, None)
        latest = self._latest.get(host, 0)
        if latest > revision:
            await _answer(send, 200, json.dumps({"revision": latest}).encode(), _JSON)
        else:
            await _answer(send, 204, b"", [])

    async def _refuse(self, send: _Named, status: int, code: str, detail: str, attr: str | None = None) -> None:
        error = {"code": code, "detail": detail, "attr": attr}
        body = {"type": "client_error", "errors": [error], "request_id": send.request_id}
        headers = [*_JSON, (b"www-authenticate", b"Ticket")] if status == 401 else _JSON
        await _answer(send, status, json.dumps(body).encode(), headers)


async def _disconnected(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(send: Any, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = [] if status == 204 else [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})
