"""Send one request to an address that somebody wrote: to what was checked, within a time, for an answer of a size."""

from __future__ import annotations

import functools
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import certifi
import httpcore

from gaas.lib.net.guard import AddressRefused, Guard, Target

# The head of an answer, and the bytes that TLS and chunks add.
_HEAD_BYTES = 65_536
_PIECE = 16_384
MOST_ADDRESSES = 3


class Failed(Exception):
    """State that no answer came. `code`: connect, tls, timeout, protocol, too_large."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Answer:
    """Hold what came back: names of headers in lower case; `is_whole` is False where the body was cut."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool


def fetch(
    url: str,
    *,
    guard: Guard,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    seconds: float = 10.0,
    most_bytes: int = 65_536,
) -> Answer:
    """Check an address, connect to just what was checked, and give the answer, whatever its status.

    One request on one connection: nothing is followed, no proxy, cookie or password is taken from anywhere, and
    nothing is unpacked. `seconds` is for the whole of it, but for the resolver's own RESOLVE_SECONDS. A body longer
    than `most_bytes`, or not there in time, is cut. Raises AddressRefused, or Failed where no answer began.
    """
    target = guard.check(url)
    backend = _Pinned(target, time.monotonic() + seconds, _HEAD_BYTES + most_bytes)
    sent = [(b"Host", target.netloc.encode()), (b"Connection", b"close"), (b"Accept-Encoding", b"identity")]
    sent += [(name.encode("ascii"), value.encode("ascii")) for name, value in (headers or {}).items()]
    if body or method not in ("GET", "HEAD"):
        sent.append((b"Content-Length", str(len(body)).encode()))
    request = httpcore.Request(
        method,
        httpcore.URL(
            scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
        ),
        headers=sent,
        content=body,
    )
    try:
        with httpcore.ConnectionPool(ssl_context=_tls(guard.ca_file), network_backend=backend, http2=False) as pool:
            response = pool.handle_request(request)
            try:
                return _answer(response, most_bytes)
            finally:
                response.close()
    except _TooLarge as problem:
        raise Failed("too_large", "The answer's head is too long.") from problem
    except httpcore.TimeoutException as problem:
        raise Failed("timeout", f"No answer within {seconds:g} seconds.") from problem
    except httpcore.ConnectError as problem:
        if isinstance(problem.__cause__ or problem.__context__, ssl.SSLError):
            raise Failed("tls", f"The certificate or TLS is not right: {_reason(problem)}") from problem
        raise Failed("connect", "Nothing accepts a connection there.") from problem
    except httpcore.NetworkError as problem:
        raise Failed("connect", "The connection broke before an answer came.") from problem
    except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as problem:
        raise Failed("protocol", "What came back is no HTTP.") from problem


class _TooLarge(Exception):
    """State that more bytes came than were to be taken."""


def _answer(response: httpcore.Response, most: int) -> Answer:
    taken, is_whole = bytearray(), True
    try:
        for part in response.iter_stream():
            taken += part
            if len(taken) > most:
                is_whole = False
                break
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, _TooLarge):
        # Its status came: what it goes on to say is not worth a failure.
        is_whole = False
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    return Answer(response.status, headers, bytes(taken[:most]), is_whole)


class _Pinned(httpcore.NetworkBackend):
    """Connect to the addresses of a target in turn, whatever name is asked for by then."""

    def __init__(self, target: Target, ends_at: float, most: int) -> None:
        self._target, self._ends_at, self._most = target, ends_at, most
        self._real = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        if (host, port) != (self._target.host, self._target.port):
            raise AddressRefused("This is not the address that was checked.")
        problem: Exception = httpcore.ConnectError("no address")
        for address in self._target.addresses[:MOST_ADDRESSES]:
            try:
                stream = self._real.connect_tcp(address, port, timeout=_left(self._ends_at))
                return _Bounded(stream, self._ends_at, self._most)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                problem = failed
        raise problem


class _Bounded(httpcore.NetworkStream):
    """Stop at a moment and after so many bytes, however they trickle."""

    def __init__(self, stream: httpcore.NetworkStream, ends_at: float, most: int) -> None:
        self._stream, self._ends_at, self._most = stream, ends_at, most

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(min(max_bytes, _PIECE), timeout=_left(self._ends_at))
        self._most -= len(data)
        if self._most < 0:
            raise _TooLarge
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            self._stream.write(buffer[start : start + _PIECE], timeout=_left(self._ends_at))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, timeout=_left(self._ends_at))
        return _Bounded(secured, self._ends_at, self._most)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(ends_at: float) -> float:
    left = ends_at - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time is over")
    return left


@functools.lru_cache(maxsize=8)
def _tls(ca_file: str) -> ssl.SSLContext:
    """Make the context, in which certificates and names are always checked; reading all authorities takes a while."""
    made = ssl.create_default_context(cafile=certifi.where())
    if ca_file:
        made.load_verify_locations(cafile=ca_file)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    return made


def _reason(problem: Exception) -> str:
    cause = problem.__cause__ or problem.__context__
    return str(getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or "refused")[:200]
