"""Servers on loopback that behave, and that do not: each counts who came and keeps what was said."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Behaviour = Callable[[socket.socket, "Receiver"], None]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Received:
    head: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Listen on 127.0.0.1; `hits` counts connections, whether or not anything was said on them."""

    behave: Behaviour
    tls: ssl.SSLContext | None = None
    hits: int = 0
    received: list[Received] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.hits += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        with contextlib.suppress(OSError), connection:
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            self.behave(connection, self)
            connection.close()

    def read(self, connection: socket.socket) -> Received:
        """Take one request in and keep it."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += _more(connection)
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            body += _more(connection)
        request = Received(first, headers, body)
        self.received.append(request)
        return request

    def stop(self) -> None:
        self.is_over.set()
        # A close alone does not wake the thread in accept().
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._acceptor.join(5)
        for thread in self._threads:
            thread.join(5)


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise OSError("gone")
    return data


def says(answer: bytes) -> Behaviour:
    """Read a request and answer with these bytes."""

    def behave(connection: socket.socket, receiver: Receiver) -> None:
        receiver.read(connection)
        connection.sendall(answer)

    return behave


answers = says(OK)


def never_answers(connection: socket.socket, receiver: Receiver) -> None:
    receiver.read(connection)
    receiver.is_over.wait(20)


def closes(connection: socket.socket, receiver: Receiver) -> None:
    receiver.read(connection)


def ten_megabytes(connection: socket.socket, receiver: Receiver) -> None:
    receiver.read(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
    for _ in range(10_000):
        connection.sendall(b"x" * 1000)


def endless_headers(connection: socket.socket, receiver: Receiver) -> None:
    receiver.read(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not receiver.is_over.is_set():
        connection.sendall(b"X-More: " + b"y" * 500 + b"\r\n")


def endless_continues(connection: socket.socket, receiver: Receiver) -> None:
    receiver.read(connection)
    while not receiver.is_over.is_set():
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


def trickles(connection: socket.socket, receiver: Receiver) -> None:
    """Send a byte at a time, each well before any time-out between bytes."""
    receiver.read(connection)
    for byte in b"HTTP/1.1 200 OK\r\n" * 100:
        connection.sendall(bytes([byte]))
        if receiver.is_over.wait(0.1):
            return


@contextlib.contextmanager
def receiver(behave: Behaviour = answers, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    made = Receiver(behave, tls)
    try:
        yield made
    finally:
        made.stop()
