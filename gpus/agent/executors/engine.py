"""A container engine by Docker's API over a unix socket: Docker itself or Podman.

With the standard library alone, because supervisors have nothing else: a dozen calls need no package.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from ..config import Config

PING_SECONDS = 5
CALL_SECONDS = 60
MAX_ERROR_BYTES = 4096
NONE = "none"
PODMAN_API = "/v4.0.0/libpod"

_is_podman: dict[str, bool] = {}  # by socket


class EngineError(Exception):
    """Say what the engine answered; `status` is HTTP's, 0 when it did not answer at all."""

    def __init__(self, status: int, says: str):
        super().__init__(says)
        self.status, self.says = status, says

    @property
    def is_absence(self) -> bool:
        """Say whether there is no such container; Podman answers 500 about one that goes at this very moment."""
        return self.status == 404 or (self.status == 500 and "no such container" in self.says)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    """Call one engine. Each call has a connection of its own, so threads may share it. Raises EngineError."""

    def __init__(self, path: str):
        self.path = path

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, Any] | None = None,
        timeout: float = CALL_SECONDS,
    ) -> Any:
        """Call and give the JSON that it answers, or its bytes where that is something else."""
        data = None if body is None else json.dumps(body).encode()
        connection = _Connection(self.path, timeout)
        try:
            headers = {} if data is None else {"Content-Type": "application/json"}
            connection.request(method, f"{path}?{urlencode(query)}" if query else path, data, headers)
            answer = connection.getresponse()
            said = answer.read() if answer.status < 400 else answer.read(MAX_ERROR_BYTES)
        except TimeoutError as error:
            raise EngineError(0, f"{self.path} does not answer") from error
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(0, f"{self.path}: {getattr(error, 'strerror', None) or error}") from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise EngineError(answer.status, _said(said))
        if "json" not in (answer.getheader("Content-Type") or ""):
            return said
        try:
            return json.loads(said) if said else None
        except ValueError as error:
            raise EngineError(answer.status, "its answer is not JSON") from error

    def lines(
        self, path: str, *, query: dict[str, Any], headers: dict[str, str], silence: float
    ) -> Iterator[dict | None]:
        """POST and give each JSON line as it comes, and None whenever there was none for `silence` seconds."""
        # HTTP/1.0: no chunks, so that a time-out in the middle of anything can be taken up again.
        raw, _ = self._raw(f"{path}?{urlencode(query)}", "HTTP/1.0", headers, is_answered=False)
        with raw:
            raw.settimeout(silence)
            head, rest = b"", b""
            while True:
                try:
                    chunk = raw.recv(64 * 1024)
                except TimeoutError:
                    yield None
                    continue
                except OSError as error:
                    raise EngineError(0, f"{self.path}: {error}") from error
                rest += chunk
                if not head and b"\r\n\r\n" in rest:
                    head, _, rest = rest.partition(b"\r\n\r\n")
                if head and _status(head) < 400:
                    *lines, rest = rest.split(b"\n")
                    if not chunk:
                        lines, rest = [*lines, rest], b""
                    yield from (said for line in lines if (said := _object(line)) is not None)
                if not chunk:
                    break
                rest = rest[: 1 << 20]
            if not head or _status(head) >= 400:
                raise EngineError(_status(head), _said(rest[:MAX_ERROR_BYTES]))

    def attach(self, container: str) -> socket.socket:
        """Open the stream of a container's output, which is framed; before the start, so that nothing is missed."""
        query = urlencode({"stream": 1, "stdout": 1, "stderr": 1})
        path = f"/containers/{quote(container, safe='')}/attach?{query}"
        raw, head = self._raw(path, "HTTP/1.1", {"Connection": "Upgrade", "Upgrade": "tcp"})
        if _status(head) not in (101, 200):
            raw.close()
            raise EngineError(0, f"the output cannot be attached: {head[:200]!r}")
        raw.settimeout(None)
        return raw

    def wait(self, container: str) -> socket.socket:
        """Open a socket on which something comes when a started container has ended."""
        raw, _ = self._raw(f"/containers/{quote(container, safe='')}/wait", "HTTP/1.0", {}, is_answered=False)
        return raw

    def _raw(
        self, path: str, version: str, headers: dict[str, str], *, is_answered: bool = True
    ) -> tuple[socket.socket, bytes]:
        """POST on a bare socket; give it with the head of the answer, read to its last byte and no further."""
        sent = {"Host": "localhost", "Content-Length": "0", **headers}
        request = "".join(
            [f"POST {path} {version}\r\n", *(f"{name}: {value}\r\n" for name, value in sent.items()), "\r\n"]
        )
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        head = b""
        try:
            raw.settimeout(CALL_SECONDS)
            raw.connect(self.path)
            raw.sendall(request.encode())
            while is_answered and not head.endswith(b"\r\n\r\n"):
                byte = raw.recv(1)
                if not byte or len(head) > MAX_ERROR_BYTES:
                    raise EngineError(0, f"{self.path} does not speak HTTP")
                head += byte
        except OSError as error:
            raw.close()
            raise EngineError(0, f"{self.path}: {error.strerror or error}") from error
        except EngineError:
            raw.close()
            raise
        return raw, head

    # -- what executors ask

    def is_podman(self) -> bool:
        """Ask once: with many containers Podman may take seconds for any answer."""
        if self.path not in _is_podman:
            version = self.call("GET", "/version")
            _is_podman[self.path] = any("Podman" in part.get("Name", "") for part in version.get("Components") or [])
        return _is_podman[self.path]

    def inspect(self, container: str) -> dict | None:
        """Give what the engine knows of a container; None when there is no such."""
        try:
            return self.call("GET", f"/containers/{quote(container, safe='')}/json")
        except EngineError as error:
            if error.is_absence:
                return None
            raise

    def init(self, container: str) -> None:
        """Bring a container of Podman as far as Docker has it once it is made: only then can it be attached to."""
        self.call("POST", f"{PODMAN_API}/containers/{quote(container, safe='')}/init")

    def labelled(self, label: str) -> list[dict]:
        """List the containers with a label, those that have ended too."""
        filters = json.dumps({"label": [label]})
        return self.call("GET", "/containers/json", query={"all": "true", "filters": filters}) or []

    def signal(self, container: str, name: str) -> bool:
        """Send a signal to a container's first process. False when it runs no more, or the engine is busy with it."""
        try:
            self.call("POST", f"/containers/{quote(container, safe='')}/kill", query={"signal": name})
        except EngineError as error:
            if error.status not in (404, 409, 500):
                raise
            return False
        return True

    def remove(self, container: str) -> None:
        """End a container with everything in it and remove it; nothing when there is none."""
        try:
            self.call("DELETE", f"/containers/{quote(container, safe='')}", query={"force": "true", "v": "true"})
        except EngineError as error:
            if error.status != 409 and not error.is_absence:
                raise
            # 409: somebody else is removing it at this moment.
            deadline = time.monotonic() + CALL_SECONDS
            while error.status == 409 and self.inspect(container) is not None:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def _status(head: bytes) -> int:
    status = head.split(b" ", 2)[1:2]
    return int(status[0]) if status and status[0].isdigit() else 0


def _object(line: bytes) -> dict | None:
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _said(body: bytes) -> str:
    try:
        said = json.loads(body)
        text = said.get("message") or said.get("cause") or ""
    except (ValueError, AttributeError):
        text = body.decode(errors="replace")
    return " ".join(str(text).split())[:500] or "it gave no reason"


def frames(read: Any) -> Iterator[tuple[int, bytes]]:
    """Take the frames out of a container's output: 1 or 2 for the stream, and what was written. `read(n)` gives
    at most n bytes, none at the end."""

    def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = read(count - len(data))
            if not more:
                return b""
            data += more
        return data

    while head := exactly(8):
        stream, size = struct.unpack(">BxxxL", head)
        while size:
            chunk = read(min(size, 64 * 1024))
            if not chunk:
                return
            size -= len(chunk)
            yield stream, chunk


def registry_auth(login: dict[str, str]) -> str:
    """Write a registry's log-in as the header that the engine passes on."""
    words = {"username": login["username"], "password": login["password"], "serveraddress": login["server"]}
    return base64.urlsafe_b64encode(json.dumps(words).encode()).decode()


def _places(config: Config) -> list[str]:
    if config.engine:
        return [] if config.engine == NONE else [config.engine.removeprefix("unix://")]
    named = os.environ.get("DOCKER_HOST", "")
    if named:
        return [named.removeprefix("unix://")] if named.startswith("unix://") else []
    places = ["/run/docker.sock", "/run/podman/podman.sock"]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        places.append(f"{runtime}/podman/podman.sock")
    return places


def find(config: Config) -> tuple[Engine | None, str]:
    """Give the engine of this host, the first that answers; else None and why there is none."""
    why = "no container engine is installed, or its socket is not there"
    for place in _places(config):
        try:
            if not stat.S_ISSOCK(os.stat(place).st_mode):
                why = f"{place} is not a socket"
                continue
            Engine(place).call("GET", "/_ping", timeout=PING_SECONDS)
        except FileNotFoundError:
            continue
        except OSError as error:
            why = f"{place}: {error.strerror}"
        except EngineError as error:
            why = error.says if place in error.says else f"{place}: {error.says}"
        else:
            return Engine(place), ""
    if config.engine == NONE:
        why = 'containers are switched off (engine = "none")'
    elif config.engine and why.startswith("no container"):
        why = f"{config.engine} is not there"
    return None, why
