"""Calls to the server: what it refused for good, and what is worth another try."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from . import VERSION
from .protocol import (
    CheckpointRequest,
    FinishAnswer,
    FinishRequest,
    JoinAnswer,
    JoinRequest,
    LeftFile,
    StartAnswer,
    StartRequest,
    SyncAnswer,
    SyncRequest,
    WireError,
)

TRY_AGAIN = {408, 425, 429}


class Refused(Exception):
    """State that the server said no, and would say so again."""

    def __init__(self, status: int, code: str, detail: str, body: Any = None):
        super().__init__(f"{status} {code}: {detail}" if detail else f"{status} {code}")
        self.status, self.code, self.detail, self.body = status, code, detail, body


class LeaseLost(Refused):
    """State that the attempt is no longer this host's."""


class OffsetWanted(Refused):
    """State from which byte on the server wants the log."""

    offset: int = 0


class Unreachable(Exception):
    """State that there was no usable answer; the same call may work later."""

    def __init__(self, why: str, retry_after: float | None = None):
        super().__init__(why)
        self.retry_after = retry_after


class StorageAway(Unreachable):
    """State that the server is there, and the place where it keeps files is not."""


def is_loopback(server: str) -> bool:
    host = urlsplit(server).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _seconds(header: str | None) -> float | None:
    return float(header) if header and header.isdecimal() and len(header) < 7 else None


def _refusal(answer: httpx.Response) -> Refused:
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        body = None
    code, detail = "", ""
    if isinstance(body, dict) and isinstance(body.get("errors"), list) and body["errors"]:
        first = body["errors"][0]
        if isinstance(first, dict):
            code, detail = str(first.get("code", "")), str(first.get("detail", ""))[:500]
    if answer.status_code == 409 and code == "lease_lost":
        return LeaseLost(409, code, detail, body)
    if answer.status_code == 416 and isinstance(body, dict) and type(body.get("offset")) is int and body["offset"] >= 0:
        wanted = OffsetWanted(416, code or "offset", detail, body)
        wanted.offset = body["offset"]
        return wanted
    return Refused(answer.status_code, code, detail or answer.reason_phrase, body)


class Client:
    """Speak the agent's protocol to one server. Threads may share it."""

    def __init__(self, server: str, secret: str = "", *, ca_file: str = ""):
        self.server = server.rstrip("/") + "/"
        verify = ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context()
        self.tls = verify
        options: dict[str, Any] = {
            "verify": verify,
            "trust_env": not is_loopback(server),
            "headers": {"User-Agent": f"gaas-agent/{VERSION}"},
            "timeout": httpx.Timeout(30, connect=5),
        }
        self._http = httpx.Client(**options, limits=httpx.Limits(max_connections=64, max_keepalive_connections=8))
        # Connections of its own: leases depend on syncs, which must not queue behind slow logs.
        self._sync_http = httpx.Client(**options)
        # A file's last batch is answered when the whole was read again, which may take minutes.
        self._file_http = httpx.Client(**options | {"timeout": httpx.Timeout(600, connect=5)})
        # Waits may be answered by another origin, which must never see the secret.
        self._bare = httpx.Client(**options)
        self.has_secret = bool(secret)
        if secret:
            for http in (self._http, self._sync_http, self._file_http):
                http.headers["Authorization"] = f"Host {secret}"

    def close(self) -> None:
        for http in (self._http, self._sync_http, self._file_http, self._bare):
            http.close()

    def _call(self, http: httpx.Client, method: str, url: str | httpx.URL, **rest: Any) -> httpx.Response:
        try:
            answer = http.request(method, url, **rest)
        except httpx.HTTPError as error:
            raise Unreachable(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from error
        except httpx.InvalidURL as error:
            raise Unreachable(f"{url}: {error}") from error
        _check(answer)
        return answer

    def _api(self, path: str, shape: Any, http: httpx.Client | None = None, **rest: Any) -> Any:
        answer = self._call(http or self._http, "POST", urljoin(self.server, f"api/agent/v1/{path}"), **rest)
        return _shaped(answer, shape)

    def join(self, request: JoinRequest) -> JoinAnswer:
        return self._api("join", JoinAnswer, json=request.to_wire())

    def probe(self) -> None:
        """Send a sync that says nothing, which is always refused: with 401 if the secret is not taken."""
        self._api("sync", None, self._sync_http, json={})

    def sync(self, request: SyncRequest, *, lease_seconds: float = 60) -> SyncAnswer:
        """Send a sync; not answered within half a lease it is as good as lost, and the next one may not be."""
        timeout = httpx.Timeout(max(5, lease_seconds / 2), connect=5)
        return self._api("sync", SyncAnswer, self._sync_http, json=request.to_wire(), timeout=timeout)

    def start(self, attempt_id: str, request: StartRequest) -> StartAnswer:
        return self._api(f"attempts/{attempt_id}/start", StartAnswer, json=request.to_wire())

    def finish(self, attempt_id: str, request: FinishRequest) -> FinishAnswer:
        return self._api(f"attempts/{attempt_id}/finish", FinishAnswer, json=request.to_wire())

    def send_log(self, attempt_id: str, epoch: int, offset: int, data: bytes) -> int:
        """Append to the attempt's log and answer how much of it the server has. Raises OffsetWanted at a hole."""
        body = self._api(
            f"attempts/{attempt_id}/logs",
            None,
            params={"epoch": epoch, "offset": offset},
            content=data,
            headers={"Content-Type": "application/octet-stream"},
        )
        has = body.get("offset") if isinstance(body, dict) else None
        if type(has) is not int or has < 0:
            raise Unreachable("the server's answer does not say how much of the log it has")
        return has

    def fetch_file(self, attempt_id: str, epoch: int, file_id: str, offset: int) -> Iterator[bytes]:
        """Give the bytes of an attempt's file from an offset on."""
        url = urljoin(self.server, f"api/agent/v1/attempts/{attempt_id}/files/{file_id}")
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            with self._file_http.stream("GET", url, params={"epoch": epoch}, headers=headers) as answer:
                if not answer.is_success:
                    answer.read()
                    _check(answer)
                if offset and answer.status_code != 206:
                    raise Unreachable("the server gave the whole file where a part was asked for")
                yield from answer.iter_bytes(1 << 16)
        except httpx.HTTPError as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error

    def send_file(
        self, attempt_id: str, epoch: int, kind: str, file: LeftFile, offset: int, data: bytes
    ) -> tuple[int, bool]:
        """Send bytes of a file that an attempt left; give how many the server has and whether it has them all.

        Raises OffsetWanted at a hole, StorageAway while the server cannot keep anything.
        """
        body = self._api(
            f"attempts/{attempt_id}/artifacts",
            None,
            self._file_http,
            params={
                "epoch": epoch,
                "kind": kind,
                "name": file.name,
                "size": file.size,
                "sha256": file.sha256,
                "offset": offset,
            },
            content=data,
            headers={"Content-Type": "application/octet-stream"},
        )
        if not isinstance(body, dict) or type(body.get("offset")) is not int or type(body.get("is_whole")) is not bool:
            raise Unreachable("the server's answer does not say how much of the file it has")
        return max(0, min(body["offset"], file.size)), body["is_whole"]

    def keep_checkpoint(self, attempt_id: str, request: CheckpointRequest) -> None:
        self._api(f"attempts/{attempt_id}/checkpoint", None, self._file_http, json=request.to_wire())

    def wait(self, url: str, ticket: str, revision: int, seconds: float) -> int | None:
        """Wait until the server wants something past `revision`; None when the wait ended without news."""
        answer = self._call(
            self._bare,
            "GET",
            httpx.URL(urljoin(self.server, url)).copy_merge_params({"ticket": ticket, "revision": revision}),
            timeout=httpx.Timeout(seconds + 10, connect=5),
        )
        if answer.status_code == 204:
            return None
        body = _shaped(answer, None)
        if not isinstance(body, dict) or type(body.get("revision")) is not int:
            raise Unreachable("the answer to a wait names no revision")
        return body["revision"]


def _check(answer: httpx.Response) -> None:
    """Raise unless a call succeeded: Refused for what would be refused again, else Unreachable."""
    if answer.is_success:
        return
    if answer.is_redirect:
        raise Unreachable(f"the server redirects to {answer.headers.get('Location')}: give that address as server")
    if 400 <= answer.status_code < 500 and answer.status_code not in TRY_AGAIN:
        raise _refusal(answer)
    kind = StorageAway if answer.status_code == 503 and _refusal(answer).code == "storage_away" else Unreachable
    raise kind(f"the server answered {answer.status_code}", _seconds(answer.headers.get("Retry-After")))


def _shaped(answer: httpx.Response, shape: Any) -> Any:
    try:
        body = answer.json()
        return body if shape is None else shape.from_wire(body)
    except WireError as error:
        raise Unreachable(f"the server's answer is not of this protocol: {error}") from error
    except (ValueError, RecursionError) as error:
        raise Unreachable("the server's answer is not JSON; is a proxy in between?") from error
