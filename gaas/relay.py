"""One attempt's relay: what an agent sends over its WebSocket, sorted to the requests that wait for it."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any
from uuid import uuid4

from gpus.agent import frames

MAX_HEADERS = 100

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_BREAKS = re.compile(rb"[\r\n\0]")
_LENGTH = re.compile(rb"[0-9]{1,18}")
# What a program sets is for nobody's browser, which would take it for this origin's word, and for no proxy, which would
# take it for this platform's.
_NOT_OUT = frozenset(
    {"set-cookie", "x-request-id", "content-security-policy", "clear-site-data", "service-worker-allowed"}
    | {"strict-transport-security", "alt-svc", "nel", "report-to", "reporting-endpoints", "x-content-type-options"}
    | {"x-sendfile", "x-lighttpd-send-file"}
    | {"cache-control", "cdn-cache-control", "surrogate-control", "surrogate-key", "pragma"}
)
_DIRECTIVE = re.compile(rb"[A-Za-z-]+(=[0-9]+)?")
# What lets a cache for several keep an answer to a request with a credential.
_SHARED = (b"public", b"private", b"s-maxage", b"must-revalidate", b"proxy-revalidate")
_NOT_OUT_PREFIXES = ("x-accel-", "access-control-")


class Broken(Exception):
    """State why an answer does not come."""


class TooLarge(Broken):
    """State that a caller sent more than a body may have."""

    def __init__(self) -> None:
        super().__init__("the body is too large")


class Call:
    """One request on its way; the relay's reader fills it."""

    def __init__(self) -> None:
        self.head: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.parts: asyncio.Queue[bytes | Broken | None] = asyncio.Queue()
        self.credit = frames.WINDOW
        self.waiting = 0  # bytes in `parts`
        self.more = asyncio.Event()
        self.is_whole = False  # what an agent sends after the end is not kept

    def end(self) -> None:
        if not self.is_whole:
            self.is_whole = True
            self.parts.put_nowait(None)

    def fail(self, why: str) -> None:
        self.more.set()
        if not self.head.done():
            self.head.set_exception(Broken(why))
        if not self.is_whole:
            self.is_whole = True
            self.parts.put_nowait(Broken(why))


class Relay:
    """The WebSocket of one attempt."""

    def __init__(self, attempt: str, epoch: int, send: Any) -> None:
        self.attempt, self.epoch = attempt, epoch
        self.connection = uuid4()
        self.calls: dict[int, Call] = {}
        self.is_closed = False
        self.reading: asyncio.Future[None] | None = None
        self._send, self._sending = send, asyncio.Lock()
        self._last = 0

    def open(self) -> tuple[int, Call]:
        if self.is_closed:
            raise Broken("the host's connection was closed")
        self._last = (self._last % (2**32 - 1)) + 1
        call = self.calls[self._last] = Call()
        return self._last, call

    async def send(self, frame: bytes) -> None:
        if self.is_closed:
            raise Broken("the host's connection was closed")
        async with self._sending:
            await self._send({"type": "websocket.send", "bytes": frame})

    def take(self, message: object) -> None:
        """Take a frame of the agent, which is as little trusted as anyone."""
        kind, id_, payload = frames.unpack(message)
        call = self.calls.get(id_)
        if call is None:
            return
        if kind == frames.OPEN:
            if not call.head.done():
                call.head.set_result(answer_head(payload))
        elif kind == frames.DATA:
            call.waiting += len(payload)
            if call.waiting > frames.WINDOW:
                raise frames.BadFrame("more of a body than there was credit for")
            if payload and not call.is_whole:
                call.parts.put_nowait(payload)
        elif kind == frames.END:
            call.end()
        elif kind == frames.CREDIT:
            call.credit = min(call.credit + frames.credit_of(payload), frames.WINDOW)
            call.more.set()
        else:
            call.fail(payload[:500].decode("utf-8", "replace"))

    def close(self) -> None:
        """End every call, and the WebSocket by ending its reader."""
        self.is_closed = True
        if self.reading is not None:
            self.reading.cancel()
        for call in self.calls.values():
            call.fail("the host's connection was closed")
        self.calls.clear()


def answer_head(payload: bytes) -> dict[str, Any]:
    """Read an answer's status and headers; raises BadFrame for what no HTTP server could pass on."""
    try:
        head = json.loads(payload)
        status, headers = head["status"], [(str(name), str(value)) for name, value in head["headers"]]
        if type(status) is not int or not 200 <= status <= 599 or len(headers) > MAX_HEADERS:
            raise ValueError
        raw = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in frames.end_to_end(headers)]
        if not all(_NAME.fullmatch(name) and not _BREAKS.search(value) for name, value in raw):
            raise ValueError
        # Two lengths, or one that each reader reads otherwise, would make another caller's answer of this body's rest.
        lengths = [value for name, value in raw if name == b"content-length"]
        if len(lengths) > 1 or not all(_LENGTH.fullmatch(value) for value in lengths):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise frames.BadFrame("an answer's head is not of this protocol") from error
    kept = [(name, value) for name, value in raw if _may_pass(name.decode())]
    return {"status": status, "headers": [*kept, *_for_one_reader(raw)]}


def _for_one_reader(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Keep what a program says of caches to the caller's own: whoever asks without their credential gets no answer."""
    said = b",".join(value for name, value in headers if name == b"cache-control")
    if not said:
        return []
    words = [word.strip() for word in said.split(b",")]
    # `no-cache="a, b"` and the like are cut at their commas: what is no plain word says only that it is not public.
    kept = [word for word in words if _DIRECTIVE.fullmatch(word) and not word.lower().startswith(_SHARED)]
    return [(b"cache-control", b", ".join([b"private", *kept]))]


def _may_pass(name: str) -> bool:
    return name not in _NOT_OUT and not name.startswith(_NOT_OUT_PREFIXES)
