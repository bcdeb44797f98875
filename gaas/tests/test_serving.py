"""A `live` process of its own, stopped while hundreds wait, and asked while others are slow."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psutil
from django.conf import settings

from gaas.lib import tickets
from tests.peers import free_port

WAITS = 300
THREADS = 2
START_SECONDS = 60
# Of a processor, in half a second: two ticks of the kernel's clock.
IDLE_SECONDS = 0.03
STOP_SECONDS = 20  # a wait lasts far longer


async def wait(port: int) -> int:
    """Wait as an agent does, on a connection that it keeps; gives the status, 0 where none came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    ticket = tickets.issue(purpose="wait", subject=str(uuid4()))
    writer.write(
        f"GET /api/agent/v1/wait?ticket={ticket}&revision=1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    )
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.read()  # and until the server closes it
    except (OSError, asyncio.IncompleteReadError):
        return 0
    finally:
        writer.close()
    return int(head.split()[1])


async def answers(live: subprocess.Popen[bytes], port: int) -> None:
    """Come back once the process listens."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            (await asyncio.open_connection("127.0.0.1", port))[1].close()
            return
        except OSError:
            assert live.poll() is None, "it ended at once"
            assert time.monotonic() < until, "it does not answer"
            await asyncio.sleep(0.1)


async def rests(server: psutil.Process) -> None:
    """Come back once a process has nothing more to do, however slowly it gets its turns."""
    idle, before = 0, sum(server.cpu_times()[:2])
    while idle < 3:
        await asyncio.sleep(0.5)
        now = sum(server.cpu_times()[:2])
        idle, before = idle + 1 if now - before < IDLE_SECONDS else 0, now


async def stop_while_they_wait(live: subprocess.Popen[bytes], port: int) -> tuple[list[int], float]:
    """Give what each wait was answered, and how many seconds the process took to end."""
    await answers(live, port)
    waiting = [asyncio.ensure_future(wait(port)) for _ in range(WAITS)]
    server = psutil.Process(live.pid)
    async with asyncio.timeout(START_SECONDS):
        while sum(link.status == psutil.CONN_ESTABLISHED for link in server.net_connections("tcp")) < WAITS:
            await asyncio.sleep(0.1)
        await rests(server)  # so they are read, too
    assert not any(task.done() for task in waiting)
    began = time.monotonic()
    live.terminate()
    await asyncio.get_running_loop().run_in_executor(None, live.wait, 30)
    took = time.monotonic() - began
    return await asyncio.wait_for(asyncio.gather(*waiting), 30), took


async def ask_beside_the_slow(live: subprocess.Popen[bytes], port: int) -> str:
    """Begin more bodies than there are threads and send none of them on; give what somebody else is answered."""
    await answers(live, port)
    head = f"Host: 127.0.0.1:{port}\r\n"
    slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3 * THREADS)]
    for _, writer in slow:
        length = "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        writer.write(f"POST /api/v1/auth/token/ HTTP/1.1\r\n{head}{length}".encode())
        await writer.drain()
    await asyncio.sleep(0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /livez HTTP/1.1\r\n{head}\r\n".encode())
    try:
        return (await asyncio.wait_for(reader.readline(), 30)).decode()
    finally:
        for _, one in [*slow, (reader, writer)]:
            one.close()


@contextmanager
def a_live(folder: Path, **more: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run `live` on a database without a table: what is asked here needs none."""
    port = free_port()
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "gaas.settings",
        "SECRET_KEY": settings.SECRET_KEY,
        "GAAS_HOME": str(folder),
        "DATABASE_URL": f"sqlite:///{folder / 'live.sqlite3'}",
        "BROKER_URL": "redis://127.0.0.1:1/0",  # nobody is asked
        "BASE_URL": f"http://127.0.0.1:{port}",
        "WAIT_SECONDS": "300",
        **more,
    }
    command = [sys.executable, "manage.py", "live", "--port", str(port)]
    with subprocess.Popen(command, cwd=settings.BASE_DIR, env=environment, stdout=subprocess.DEVNULL) as live:
        try:
            yield live, port
        finally:
            live.kill()


def test_a_stop_answers_all_who_wait_and_is_quick(tmp_path: Path) -> None:
    with a_live(tmp_path) as (live, port):
        told, took = asyncio.run(stop_while_they_wait(live, port))
    assert Counter(told) == {204: WAITS}
    assert took < STOP_SECONDS
    assert live.returncode == 0


def test_slow_clients_hold_up_nobody_for_long(tmp_path: Path) -> None:
    with a_live(tmp_path, LIVE_THREADS=str(THREADS), STREAM_SLOW_SECONDS="1") as (live, port):
        assert asyncio.run(ask_beside_the_slow(live, port)).startswith("HTTP/1.1 200")
