"""Clients that take their answers slowly or not at all, on real sockets of the real server."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from django.conf import LazySettings
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from gaas.patience import Patience
from gaas.raw import Exchange, Gone
from tests.peers import free_port

PIECE = b"x" * 64 * 1024
MIB = 1024 * 1024
# What kernels and server hold of one answer; a buffer without a bound would go on to MOST.
BOUND, MOST = 32 * MIB, 512 * MIB
PATIENCE = 60


class Answers:
    """Give `/raw` and `/django` answers without end, each as `live` does, and `/quick` a short one."""

    def __init__(self) -> None:
        self.sent = 0
        self.ended: asyncio.Queue[str] = asyncio.Queue()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/quick":
            await Exchange(scope, receive, send).answer(200, b"quick")
            return
        how = self._raw if scope["path"] == "/raw" else self._django
        await how(scope, receive, send)
        self.ended.put_nowait(scope["path"])

    async def _raw(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        exchange = Exchange(scope, receive, send)
        await exchange.start(200)
        try:
            while self.sent < MOST:
                await exchange.body(PIECE, more=True, seconds=0.5)
                self.sent += len(PIECE)
        except Gone:
            pass

    async def _django(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        client = Patience(scope, receive, send)
        await client.send({"type": "http.response.start", "status": 200, "headers": []})
        while self.sent < MOST and not client.is_over:
            await client.send({"type": "http.response.body", "body": PIECE, "more_body": True})
            self.sent += len(PIECE)


def sockets() -> int:
    """Count the sockets of this process."""
    count = 0
    for name in os.listdir("/dev/fd"):
        try:
            count += os.readlink(f"/dev/fd/{name}").startswith("socket:")
        except OSError:
            continue
    return count


@asynccontextmanager
async def serving(answers: Answers) -> AsyncIterator[int]:
    port = free_port()
    server = Server(answers, address="127.0.0.1", port=port, interface=Interfaces.ASGINL, http=HTTPModes.http1)
    task = asyncio.ensure_future(server.serve())
    try:
        while True:
            try:
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                break
            except OSError:
                assert not task.done()
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        yield port
    finally:
        server.stop()
        await asyncio.wait({task}, timeout=PATIENCE)


async def asked(port: int, path: str) -> socket.socket:
    """Ask and read nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    await asyncio.get_running_loop().sock_sendall(client, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return client


async def quick(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /quick HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    try:
        return (await asyncio.wait_for(reader.read(), PATIENCE))[-5:]
    finally:
        writer.close()


async def not_at_all(client: socket.socket) -> None:
    await asyncio.Event().wait()


async def a_few_bytes(client: socket.socket) -> None:
    while await asyncio.get_running_loop().sock_recv(client, 10):
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("read", [not_at_all, a_few_bytes])
@pytest.mark.parametrize("path", ["/raw", "/django"])
def test_one_that_takes_too_little_is_cut_off_and_forgotten(
    settings: LazySettings, path: str, read: Callable[[socket.socket], Awaitable[None]]
) -> None:
    settings.STREAM_SLOW_SECONDS = 0.5

    async def scene() -> tuple[int, bytes]:
        answers = Answers()
        async with serving(answers) as port:
            before = sockets()
            clients = [await asked(port, path) for _ in range(3)]
            reading = [asyncio.ensure_future(read(client)) for client in clients]
            answer = await quick(port)
            for _ in clients:
                assert await asyncio.wait_for(answers.ended.get(), PATIENCE) == path
            async with asyncio.timeout(PATIENCE):
                # The clients' own ends stay open.
                while sockets() > before + len(clients):
                    await asyncio.sleep(0.05)
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
            for client in clients:
                client.close()
            return answers.sent, answer

    sent, answer = asyncio.run(scene())
    assert answer == b"quick"
    assert sent < 3 * BOUND


@pytest.mark.parametrize(("takes", "size", "count"), [(0.0, 1024, 5_000), (0.05, 16 * 1024, 40)])
def test_one_that_keeps_up_may_take_as_much_as_there_is(
    settings: LazySettings, takes: float, size: int, count: int
) -> None:
    """Each piece takes a moment, which no client can help; those of many gigabytes come to more than any grace."""
    settings.STREAM_SLOW_SECONDS = 0.5

    async def moment(message: dict[str, Any] | None = None) -> None:
        await asyncio.sleep(takes)

    async def scene() -> bool:
        client = Patience({}, moment, moment)
        for _ in range(count):
            await client.send({"type": "http.response.body", "body": PIECE[:size], "more_body": True})
        return client.is_over

    assert not asyncio.run(scene())


def test_one_that_reads_on_is_not(settings: LazySettings) -> None:
    settings.STREAM_SLOW_SECONDS = 20

    async def scene() -> int:
        answers = Answers()
        async with serving(answers) as port:
            client, read = await asked(port, "/django"), 0
            while read < 2 * BOUND:
                got = await asyncio.get_running_loop().sock_recv(client, MIB)
                assert got
                read += len(got)
            client.close()
            return read

    assert asyncio.run(scene()) >= 2 * BOUND
