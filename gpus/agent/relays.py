"""Serve requests from outside by programs of this host: one WebSocket to the server for each attempt that serves.

The program listens on `$GAAS_SERVE_SOCKET`, a Unix socket in its box, which needs no network. What the server sends is
passed on to it as plain HTTP/1.1, each request on a connection and in a thread of its own (gpus/agent/frames.py).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import queue
import socket
import stat
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from .backoff import Backoff
from .client import is_loopback
from .frames import (
    CANCEL,
    CHUNK,
    CREDIT,
    DATA,
    END,
    MAX_FRAME,
    MOST_EXCHANGES,
    OPEN,
    WINDOW,
    BadFrame,
    credit,
    credit_of,
    end_to_end,
    pack,
    unpack,
)
from .protocol import RelayOrder

if TYPE_CHECKING:
    from .loop import Agent

log = logging.getLogger("gaas.agent")

FOLDER, SOCKET = "serve", "http"
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 600.0
SELDOM_WITH_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
MOST_PARTS = WINDOW // 256  # parts may be small


class NoService(Exception):
    """State that the program does not listen."""


class Relays:
    """Hold the relays that the last sync named, each in a thread of its own. `follow` is called by the loop alone."""

    def __init__(self, agent: Agent):
        self.agent = agent
        self._relays: dict[tuple[str, int], Relay] = {}

    def follow(self, orders: list[RelayOrder]) -> None:
        wanted = {(order.id, order.epoch): order for order in orders}
        for key in [key for key in self._relays if key not in wanted]:
            self._relays.pop(key).stop()
        for key, order in wanted.items():
            runner = self.agent.runners.get(order.id)
            if runner is None or runner.attempt.epoch != order.epoch:
                continue
            if key not in self._relays:
                self._relays[key] = Relay(self.agent, runner.attempt.folder / "box" / FOLDER / SOCKET)
                self._relays[key].order = order
                self._relays[key].start()
            self._relays[key].order = order  # with a fresh ticket

    def stop(self) -> None:
        for relay in self._relays.values():
            relay.stop()


class Relay(threading.Thread):
    """Keep one WebSocket open, and open it again with the latest ticket."""

    order: RelayOrder

    def __init__(self, agent: Agent, service: Path):
        super().__init__(name="relay", daemon=True)
        self.agent, self.service = agent, service
        self._ending = threading.Event()
        self._socket: Any = None
        self._exchanges: dict[int, Exchange] = {}

    def stop(self) -> None:
        self._ending.set()
        if self._socket is not None:
            threading.Thread(target=self._socket.close, daemon=True).start()

    def run(self) -> None:
        from websockets.exceptions import WebSocketException

        backoff = Backoff(self.agent.config.backoff_base_seconds, self.agent.config.backoff_cap_seconds)
        while not self._ending.is_set():
            try:
                self._serve()
                backoff.reset()
            except (OSError, WebSocketException, BadFrame) as error:
                log.debug("relay of %s: %s", self.order.id, error)
            finally:
                for exchange in list(self._exchanges.values()):
                    exchange.cancel()
            self._ending.wait(backoff.next())

    def _serve(self) -> None:
        from websockets.sync.client import connect

        url = urlsplit(urljoin(self.agent.client.server, self.order.url))
        address = urlunsplit(url._replace(scheme="wss" if url.scheme == "https" else "ws"))
        tls = self.agent.client.tls if url.scheme == "https" else None
        with connect(
            f"{address}?ticket={self.order.ticket}",
            ssl=tls,
            proxy=None if is_loopback(address) else True,
            max_size=MAX_FRAME,
            compression=None,
            open_timeout=CONNECT_SECONDS,
        ) as socket_:
            self._socket = socket_
            if self._ending.is_set():
                return
            for message in socket_:
                self._take(*unpack(message))

    def _take(self, kind: int, id_: int, payload: bytes) -> None:
        exchange = self._exchanges.get(id_)
        if kind == OPEN:
            if exchange is not None or len(self._exchanges) >= MOST_EXCHANGES:
                self.send(pack(CANCEL, id_, b"too many at once"))
                return
            self._exchanges[id_] = Exchange(self, id_, payload)
            self._exchanges[id_].start()
        elif exchange is not None:  # else it has ended here a moment ago
            exchange.take(kind, payload)

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def forget(self, id_: int) -> None:
        self._exchanges.pop(id_, None)


class Exchange(threading.Thread):
    """Pass one request to the program, and its answer back."""

    def __init__(self, relay: Relay, id_: int, head: bytes):
        super().__init__(name=f"exchange-{id_}", daemon=True)
        self.relay, self.id, self.head = relay, id_, head
        self._body: queue.Queue[bytes | None] = queue.Queue()
        self._credit, self._more = WINDOW, threading.Condition()
        self._is_cancelled = False
        self._socket: socket.socket | None = None

    # -- called by the relay's thread, which must not wait

    def take(self, kind: int, payload: bytes) -> None:
        if kind == DATA:
            if self._body.qsize() > MOST_PARTS:
                raise BadFrame("more of a body than there was credit for")
            self._body.put(payload)
        elif kind == END:
            self._body.put(None)
        elif kind == CREDIT:
            with self._more:
                self._credit += credit_of(payload)
                self._more.notify()
        else:
            self.cancel()

    def cancel(self) -> None:
        self._is_cancelled = True
        self._body.put(None)
        with self._more:
            self._more.notify()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    # -- the thread

    def run(self) -> None:
        try:
            self._exchange()
        except NoService as why:
            self._tell(pack(CANCEL, self.id, f"no service: {why}".encode()[:500]))
        except (OSError, ValueError, http.client.HTTPException) as error:
            if not self._is_cancelled:
                self._tell(pack(CANCEL, self.id, f"{type(error).__name__}: {error}".encode()[:500]))
        finally:
            if self._socket is not None:
                self._socket.close()
            self.relay.forget(self.id)

    def _tell(self, frame: bytes) -> None:
        from websockets.exceptions import WebSocketException

        with contextlib.suppress(OSError, WebSocketException):
            self.relay.send(frame)

    def _exchange(self) -> None:
        head = json.loads(self.head)
        headers = end_to_end([(str(name), str(value)) for name, value in head["headers"]])
        sized = any(name.lower() == "content-length" for name, _ in headers)
        self._socket = connect_to(self.relay.service)
        self._socket.settimeout(ANSWER_SECONDS)
        http_ = http.client.HTTPConnection("task")
        http_.sock = self._socket
        http_.putrequest(head["method"], head["path"], skip_accept_encoding=True)
        for name, value in headers:
            if name.lower() != "host":
                http_.putheader(name, value)
        # These seldom have a body, and a program may refuse one that is announced and empty: its end comes at once.
        part = self._body.get() if head["method"] in SELDOM_WITH_BODY else b""
        chunked = not sized and part is not None
        if chunked:
            http_.putheader("Transfer-Encoding", "chunked")
        http_.putheader("Connection", "close")
        http_.endheaders()
        while part is not None:
            if part:
                http_.send(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
                self._tell(credit(self.id, len(part)))
            part = self._body.get()
        if self._is_cancelled:
            return
        if chunked:
            http_.send(b"0\r\n\r\n")
        answer = http_.getresponse()
        said = {"status": answer.status, "headers": end_to_end(answer.getheaders())}
        self.relay.send(pack(OPEN, self.id, json.dumps(said).encode()))
        while part := answer.read1(CHUNK):
            self._send_body(part)
        self.relay.send(pack(END, self.id))

    def _send_body(self, part: bytes) -> None:
        while part:
            with self._more:
                while self._credit <= 0 and not self._is_cancelled:
                    self._more.wait(ANSWER_SECONDS)
                if self._is_cancelled:
                    raise OSError("cancelled")
                now, part = part[: self._credit], part[self._credit :]
                self._credit -= len(now)
            self.relay.send(pack(DATA, self.id, now))


def connect_to(path: Path) -> socket.socket:
    """Connect to the program's socket, and to nothing else that the program may have put in its place.

    The program owns the folder: a link there could lead to any socket that this agent may open. The descriptor is
    looked at, and connected to through /proc, which also takes paths longer than an address has room for.
    """
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise NoService(error.strerror) from error
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise NoService("what is at $GAAS_SERVE_SOCKET is no socket")
        return _connected(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _connected(path: str) -> socket.socket:
    """Connect, waiting a while for a program whose queue is full: such a connect fails at once."""
    service = socket.socket(socket.AF_UNIX)
    service.settimeout(CONNECT_SECONDS)
    until = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            service.connect(path)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.02)
                continue
            service.close()
            raise NoService("it takes no connection") from None
        except OSError as error:
            service.close()
            raise NoService(error.strerror or str(error)) from error
        return service
