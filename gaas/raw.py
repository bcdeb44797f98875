"""What every raw ASGI route shares: its request's id, its refusals, and its one line in the access log."""

from __future__ import annotations

import asyncio
import atexit
import json
import time
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import structlog
from django.conf import settings

from gaas.cutting import cut
from gaas.lib import context
from gaas.lib.rest.address import client_address

Headers = list[tuple[bytes, bytes]]

JSON: Headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]

access = structlog.stdlib.get_logger("access")

LATER_SECONDS = 0.5
LINES_AT_ONCE = 16
MOST_LINES = 20_000


class Gone(Exception):
    """State that the client hung up, or takes too little to be waited for."""


class Exchange:
    """Answer one request. What it sends is counted for the access log, which never sees the query or its ticket."""

    def __init__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.scope, self.receive, self._send = scope, receive, send
        self.headers = dict(scope.get("headers", ()))
        self.request_id = context.request_id_from(self.header(b"x-request-id"))
        self.user: str | None = None
        self.status = 0
        self.size = 0
        self._began = time.perf_counter()
        self._query: dict[str, list[str]] | None = None

    def header(self, name: bytes) -> str:
        return str(self.headers.get(name, b"").decode("latin-1"))

    def query(self, name: str) -> str:
        """Give a parameter, "" where there is none."""
        if self._query is None:
            try:
                self._query = parse_qs(self.scope["query_string"].decode("latin-1"), max_num_fields=50)
            except ValueError:  # too many: nobody who means it sends so
                self._query = {}
        return self._query.get(name, [""])[0]

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.status = status
        named = (b"x-request-id", self.request_id.encode())
        head = [*headers, named, *self._for_other_origins()]
        await self._send({"type": "http.response.start", "status": status, "headers": head})

    async def body(self, data: bytes, *, more: bool = False, seconds: float | None = None) -> None:
        """Send a part of the body; a client that does not take it within `seconds` is cut off, which raises Gone."""
        sending = self._send({"type": "http.response.body", "body": data, "more_body": more})
        try:
            await (sending if seconds is None else asyncio.wait_for(_coroutine(sending), seconds))
        except TimeoutError:
            await cut(self.scope)
            raise Gone from None
        self.size += len(data)

    async def answer(self, status: int, body: bytes = b"", headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        length = [] if status == 204 else [(b"content-length", str(len(body)).encode())]
        await self.start(status, [*headers, *length])
        await self.body(body)

    async def refuse(
        self, status: int, code: str, detail: str, attr: str | None = None, headers: Headers | None = None
    ) -> None:
        """Answer in the shape that refusals of the API have."""
        kind = "server_error" if status >= 500 else "client_error"
        error = {"code": code, "detail": detail, "attr": attr}
        body = {"type": kind, "errors": [error], "request_id": self.request_id}
        more: Headers = [(b"www-authenticate", b"Ticket")] if status == 401 else []
        await self.answer(status, json.dumps(body).encode(), [*JSON, *more, *(headers or [])])

    async def until_gone(self) -> None:
        """Come back when the client has hung up."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def log(self, *, at_once: bool = True) -> None:
        """Write the one line of this request; a moment later where thousands may end at once, since it costs most."""
        ended = time.perf_counter()
        (_write if at_once else later.add)((self, ended, datetime.now(UTC)))

    def write_line(self, ended: float, at: datetime) -> None:
        client = self.scope.get("client")
        meta = {"REMOTE_ADDR": client[0] if client else "", "HTTP_X_FORWARDED_FOR": self.header(b"x-forwarded-for")}
        access.info(
            "response",
            method=self.scope.get("method", "WEBSOCKET"),
            path=self.scope["path"][:500],
            address=client_address(meta),
            request_id=self.request_id,
            user=self.user,
            status=self.status,
            size=self.size,
            duration_ms=round((ended - self._began) * 1000, 1),
            at=at.isoformat().replace("+00:00", "Z"),
        )

    def _for_other_origins(self) -> Headers:
        origin = self.header(b"origin")
        if origin and origin in {*settings.CORS_ALLOWED_ORIGINS, *settings.CSRF_TRUSTED_ORIGINS}:
            return [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]
        return []


Line = tuple[Exchange, float, datetime]


class _Later:
    """Write lines of the access log a moment after the answers, a few in each pass of the loop."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        atexit.register(self.write_all)

    def add(self, line: Line) -> None:
        self._lines.append(line)
        if len(self._lines) > MOST_LINES:
            self.write_all()
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(LATER_SECONDS, self._write_some)

    def write_all(self) -> None:
        while self._lines:
            _write(self._lines.popleft())

    def _write_some(self) -> None:
        loop, self._loop = self._loop, None
        for _ in range(min(LINES_AT_ONCE, len(self._lines))):
            _write(self._lines.popleft())
        if self._lines and loop is not None:
            self._loop = loop
            loop.call_soon(self._write_some)


def _write(line: Line) -> None:
    exchange, ended, at = line
    exchange.write_line(ended, at)


later = _Later()


async def _coroutine(awaitable: Any) -> Any:
    return await awaitable
