"""The relay: requests to what a task serves, over the WebSocket that its host's agent holds open. Raw ASGI.

`GET /api/agent/v1/relay/<attempt>?ticket=…` (WebSocket) is an agent's; frames are those of gpus/agent/frames.py.
`* /api/v1/tasks/<id>/service/<path>` is a caller's: who that is and whether they may is asked of Django once, by the
same endpoint without a path; nothing is held while the answer streams but this coroutine. Where another process
holds the WebSocket there is one hop to it, `/api/live/v1/relay/<attempt>/<path>`, under a ticket that processes sign.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
from django.conf import settings
from django.db import DatabaseError

from gaas.feeds import Pool
from gaas.lib import clock, tickets
from gaas.raw import Exchange, Gone
from gaas.relay import MAX_HEADERS, Broken, Call, Relay, TooLarge
from gpus.agent import frames
from tasks.services import relays

AGENTS = "/api/agent/v1/relay/"
HOP = "/api/live/v1/relay/"
CLOSE_SECONDS = 5
HEAD_SECONDS = 600.0

_AGENT_PATH = re.compile(rf"{AGENTS}([0-9a-f-]{{36}})/?", re.ASCII)
_HOP_PATH = re.compile(rf"{HOP}([0-9a-f-]{{36}})(/.*)", re.ASCII)
_SERVICE_PATH = re.compile(r"/api/v1/tasks/([0-9a-f-]{36})/service(/.+)")
# A caller's credential is for this platform and not for the program.
_NOT_IN = frozenset({"authorization", "cookie", "host", "forwarded", "x-gaas-hop", "content-length"})
_OF_THE_HOP = frozenset(
    {b"x-request-id", b"transfer-encoding", b"connection", b"date", b"server", b"access-control-allow-origin"}
)
# A page that a program sends must not act as this house.
_HARMLESS = [(b"content-security-policy", b"sandbox"), (b"x-content-type-options", b"nosniff")]

log = logging.getLogger("app")


class Relays:
    """The relays of this process, and the way to those of others."""

    def __init__(self, django: Callable[[Exchange, str], tuple[int, list[tuple[bytes, bytes]], bytes]]) -> None:
        self.url = ""  # of this process, for the others
        self._ask_django = django
        self._pool = Pool()
        self._relays: dict[str, Relay] = {}
        self._client: httpx.AsyncClient | None = None

    def stop(self) -> None:
        for relay in list(self._relays.values()):
            relay.close()
        self._pool.stop()

    # -- agents

    async def connect(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Hold one agent's WebSocket until either side closes it; a newer one of the same attempt ends it."""
        exchange = Exchange(scope, receive, send)
        path = _AGENT_PATH.fullmatch(scope["path"])
        told = (tickets.read(purpose="relay", ticket=exchange.query("ticket")) or "").split(":")
        await receive()
        if path is None or len(told) != 3 or told[0] != path[1]:
            exchange.status = 403
            await send({"type": "websocket.close", "code": 4401})
            exchange.log()
            return
        attempt, epoch, host = told
        relay = Relay(attempt, int(epoch), send)
        try:
            taken = await self._pool.run(relay, lambda: self._take(relay, UUID(host)))
        except DatabaseError:
            taken = False
        older = self._relays.get(attempt)
        if not taken or (older is not None and older.epoch > relay.epoch):
            exchange.status = 409
            await send({"type": "websocket.close", "code": 4409})
            exchange.log()
            return
        await send({"type": "websocket.accept"})
        exchange.status, exchange.user = 101, f"host {host}"
        self._relays[attempt] = relay
        if older is not None:
            older.close()
        relay.reading = asyncio.ensure_future(_read(relay, receive))
        try:
            await asyncio.wait({relay.reading})
            if relay.reading.cancelled():  # ended from this side; no send gets through while something reads
                with contextlib.suppress(Exception):
                    await send({"type": "websocket.close", "code": 1001})
            else:
                relay.reading.result()
        except frames.BadFrame as bad:
            log.warning("relay of attempt %s: %s", attempt, bad)
            with contextlib.suppress(Exception):
                await send({"type": "websocket.close", "code": 1002})
        finally:
            relay.close()
            if self._relays.get(attempt) is relay:
                del self._relays[attempt]
            exchange.log()
            with contextlib.suppress(DatabaseError, RuntimeError):
                await self._pool.run(relay, lambda: relays.drop_relay(connection=relay.connection))

    def _take(self, relay: Relay, host: UUID) -> bool:
        return relays.take_relay(
            attempt_id=UUID(relay.attempt),
            epoch=relay.epoch,
            host_id=host,
            connection=relay.connection,
            url=self.url,
            now=clock.now(),
        )

    # -- callers

    @staticmethod
    def is_service(scope: dict[str, Any]) -> bool:
        return scope["path"].startswith(HOP) or _SERVICE_PATH.fullmatch(scope["path"]) is not None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        exchange = Exchange(scope, receive, send)
        try:
            if scope["path"].startswith(HOP):
                await self._from_another(exchange)
            else:
                await self._serve(exchange)
        except Gone:
            pass
        except TooLarge:
            if not exchange.status:
                detail = f"The body is larger than {settings.SERVICE_BODY_BYTES} bytes. Send less."
                await exchange.refuse(413, "body_too_large", detail)
        except (Broken, DatabaseError, httpx.HTTPError) as error:
            log.info("a service did not answer: %s", error)
            if not exchange.status:
                await exchange.refuse(502, "service_failed", f"The program did not answer: {str(error)[:200]}.")
        finally:
            exchange.log()

    async def _serve(self, exchange: Exchange) -> None:
        path = _SERVICE_PATH.fullmatch(exchange.scope["path"])
        assert path is not None  # noqa: S101
        # Only by header: a program's page must not be able to call with the cookie of whoever looks at it.
        status, headers, body = await self._pool.run(
            exchange, lambda: self._ask_django(exchange, f"/api/v1/tasks/{path[1]}/service/")
        )
        if status != 200:
            await exchange.answer(status, body, [pair for pair in headers if pair[0] != b"content-length"])
            return
        length = exchange.header(b"content-length")
        if length.isdigit() and int(length) > settings.SERVICE_BODY_BYTES:
            raise TooLarge
        attempt = json.loads(body)["attempt"]
        rest = _with_query(path[2], exchange)
        relay = self._relays.get(attempt)
        if relay is not None:
            await self._pass_on(exchange, relay, rest)
            return
        url = await self._pool.run(exchange, lambda: relays.find_relay(UUID(attempt)))
        if not url or url == self.url:
            detail = "The program's host is not connected at the moment."
            await exchange.refuse(503, "service_away", detail, headers=[(b"retry-after", b"2")])
            return
        await self._hop(exchange, url, attempt, rest)

    async def _from_another(self, exchange: Exchange) -> None:
        path = _HOP_PATH.fullmatch(exchange.scope["path"])
        ticket = exchange.header(b"x-gaas-hop")
        if path is None or tickets.read(purpose="hop", ticket=ticket) != path[1]:
            await exchange.refuse(401, "not_authenticated", "Only the platform's own processes ask here.")
            return
        relay = self._relays.get(path[1])
        if relay is None:
            detail = "The program's host is not connected at the moment."
            await exchange.refuse(503, "service_away", detail, headers=[(b"retry-after", b"2")])
            return
        await self._pass_on(exchange, relay, _with_query(path[2], exchange))

    async def _pass_on(self, exchange: Exchange, relay: Relay, path: str) -> None:
        """Send one request over a relay and stream its answer."""
        if len(relay.calls) >= frames.MOST_EXCHANGES:
            detail = f"{frames.MOST_EXCHANGES} requests to this service are under way."
            await exchange.refuse(429, "throttled", detail, headers=[(b"retry-after", b"1")])
            return
        head = json.dumps(
            {"method": exchange.scope["method"], "path": path, "headers": _for_program(exchange)}
        ).encode()
        if len(head) > frames.CHUNK:
            await exchange.refuse(413, "body_too_large", f"The headers are larger than {frames.CHUNK} bytes.")
            return
        id_, call = relay.open()
        gone: asyncio.Event = asyncio.Event()
        body = asyncio.ensure_future(_send_body(exchange, relay, id_, call, gone))
        answer = asyncio.ensure_future(self._answer(exchange, relay, id_, call))
        left = asyncio.ensure_future(gone.wait())
        try:
            await relay.send(frames.pack(frames.OPEN, id_, head))
            await asyncio.wait({answer, left}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                answer.result()
            else:
                await asyncio.wait({body}, timeout=1)
                if body.done() and isinstance(why := body.result(), TooLarge):
                    raise why
        finally:
            is_over = answer.done() and not answer.cancelled() and answer.exception() is None
            for task in (body, answer, left):
                task.cancel()
            relay.calls.pop(id_, None)
            if not is_over:
                with contextlib.suppress(Exception):
                    await relay.send(frames.pack(frames.CANCEL, id_, b"the caller left"))

    async def _answer(self, exchange: Exchange, relay: Relay, id_: int, call: Call) -> None:
        try:
            head = await asyncio.wait_for(asyncio.shield(call.head), HEAD_SECONDS)
        except TimeoutError:
            raise Broken("it took too long") from None
        await exchange.start(head["status"], [*head["headers"], *_HARMLESS])
        while (part := await call.parts.get()) is not None:
            if isinstance(part, Broken):
                raise part
            await exchange.body(part, more=True, seconds=settings.STREAM_SLOW_SECONDS)
            call.waiting -= len(part)
            await relay.send(frames.credit(id_, len(part)))
        await exchange.body(b"", seconds=settings.STREAM_SLOW_SECONDS)

    async def _hop(self, exchange: Exchange, url: str, attempt: str, path: str) -> None:
        if self._client is None:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
            timeout = httpx.Timeout(HEAD_SECONDS, connect=CLOSE_SECONDS)
            self._client = httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False)
        headers = [*_for_program(exchange), ("x-gaas-hop", tickets.issue(purpose="hop", subject=attempt))]
        headers += [("x-request-id", exchange.request_id)]
        gone = asyncio.Event()
        request = self._client.build_request(
            exchange.scope["method"],
            f"{url}{HOP}{attempt}{_opaque(path)}",
            headers=headers,
            content=_body_of(exchange, gone),
        )

        async def stream() -> None:
            assert self._client is not None  # noqa: S101
            answer = await self._client.send(request, stream=True)
            try:
                kept = [(n.lower(), v) for n, v in answer.headers.raw if n.lower() not in _OF_THE_HOP]
                await exchange.start(answer.status_code, kept)
                async for part in answer.aiter_raw():
                    await exchange.body(part, more=True, seconds=settings.STREAM_SLOW_SECONDS)
                await exchange.body(b"", seconds=settings.STREAM_SLOW_SECONDS)
            finally:
                await answer.aclose()

        streaming, left = asyncio.ensure_future(stream()), asyncio.ensure_future(gone.wait())
        try:
            await asyncio.wait({streaming, left}, return_when=asyncio.FIRST_COMPLETED)
            if gone.is_set():
                # A body that broke says why; who left a moment ago gets no answer any more.
                await asyncio.wait({streaming}, timeout=1)
            if streaming.done():
                streaming.result()
        finally:
            streaming.cancel()
            left.cancel()


async def _read(relay: Relay, receive: Any) -> None:
    while (message := await receive())["type"] != "websocket.disconnect":
        relay.take(message.get("bytes"))


def _for_program(exchange: Exchange) -> list[tuple[str, str]]:
    """Give the headers that go on to the program; a body's length is counted anew."""
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in exchange.scope["headers"]]
    kept = [(name, value) for name, value in frames.end_to_end(headers) if name.lower() not in _NOT_IN]
    return kept[:MAX_HEADERS]


def _with_query(path: str, exchange: Exchange) -> str:
    query = exchange.scope["query_string"].decode("latin-1")
    return quote(path, safe="/:@!$&'()*+,;=~-._") + (f"?{query}" if query else "")


def _opaque(path: str) -> str:
    """Write `.` and `..` so that the HTTP client does not take them for steps, out of the relay's own address."""
    path, mark, query = path.partition("?")
    parts = (part.replace(".", "%2E") if part in (".", "..") else part for part in path.split("/"))
    return "/".join(parts) + mark + query


async def _body_of(exchange: Exchange, gone: asyncio.Event) -> AsyncIterator[bytes]:
    """Give the parts of a request's body; says when its caller hangs up, before or after its end."""
    size, more = 0, True
    while more:
        message = await exchange.receive()
        if message["type"] == "http.disconnect":
            gone.set()
            raise Broken("the caller left")
        part, more = message.get("body", b""), message.get("more_body", False)
        size += len(part)
        if size > settings.SERVICE_BODY_BYTES:
            gone.set()
            raise TooLarge
        for begin in range(0, len(part), frames.CHUNK):
            yield part[begin : begin + frames.CHUNK]
    asyncio.ensure_future(_watch(exchange, gone))  # noqa: RUF006


async def _watch(exchange: Exchange, gone: asyncio.Event) -> None:
    with contextlib.suppress(Exception):
        await exchange.until_gone()
        gone.set()


async def _send_body(exchange: Exchange, relay: Relay, id_: int, call: Call, gone: asyncio.Event) -> Broken | None:
    """Send a request's body as there is credit for it; give what broke it."""
    try:
        async for part in _body_of(exchange, gone):
            while call.credit < len(part):
                call.more.clear()
                await call.more.wait()
                if relay.is_closed:
                    return None
            call.credit -= len(part)
            await relay.send(frames.pack(frames.DATA, id_, part))
        await relay.send(frames.pack(frames.END, id_))
    except Broken as why:
        return why
    return None
