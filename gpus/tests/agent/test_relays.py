"""A request as it arrives at a program that serves."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from gpus.agent import frames
from gpus.agent.relays import Exchange, Relay


class Wire:
    """Take what the agent sends to the server."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int, bytes]] = []

    def send(self, frame: bytes) -> None:
        self.sent.append(frames.unpack(frame))


def asked(folder: Path, method: str, *parts: bytes) -> tuple[bytes, list[tuple[int, int, bytes]]]:
    """Send one request to a program; gives what the program read and what went back."""
    path, read = folder / "http", bytearray()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            program, _ = server.accept()
            with program:
                program.settimeout(60)
                while not read.endswith(b"\r\n\r\n") or (b"chunked" in read and not read.endswith(b"0\r\n\r\n")):
                    read.extend(program.recv(65536))
                program.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        relay = Relay(None, path)  # type: ignore[arg-type]
        relay._socket = wire = Wire()
        head = {"method": method, "path": "/x", "headers": [["Host", "there"]]}
        exchange = Exchange(relay, 1, json.dumps(head).encode())
        exchange.start()
        for part in parts:
            exchange.take(frames.DATA, part)
        exchange.take(frames.END, b"")
        exchange.join(60)
        serving.join(60)
    return bytes(read), wire.sent


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "POST"])
def test_a_body_is_framed_whatever_the_method(tmp_path: Path, method: str) -> None:
    read, sent = asked(tmp_path, method, b"ab", b"", b"cde")
    head, _, body = read.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert body == b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"
    assert (sent[-2][0], json.loads(sent[-2][2])["status"], sent[-1][0]) == (frames.OPEN, 204, frames.END)


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_none_is_announced_where_there_is_none(tmp_path: Path, method: str) -> None:
    read, _ = asked(tmp_path, method)
    assert b"Transfer-Encoding" not in read
    assert read.endswith(b"\r\n\r\n")
