"""Serve the `live` application with granian inside this process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

GRACE_SECONDS = 10
BACKLOG = 4096
MOST_REQUESTS = 65_536


def serve(*, host: str, port: int, on_start: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT; waits are answered at once then, requests under way get ten seconds."""
    asyncio.run(_serve(host, port, on_start))
    # What is left goes with the process: to look through it all for cycles first takes seconds on a busy machine.
    gc.freeze()


async def _serve(host: str, port: int, on_start: Callable[[], None]) -> None:
    from gaas.live import application

    server = Server(
        application,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=True,
        log_access=False,
        backlog=BACKLOG,
        # Each wait and stream is a request under way: by its own reckoning granian would take no more than its backlog.
        backpressure=MOST_REQUESTS,
    )
    # What was imported stays: a collection while thousands wait need not look through it again.
    gc.collect()
    gc.freeze()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    application.start(loop, f"http://{f'[{host}]' if ':' in host else host}:{port}")
    serving = asyncio.ensure_future(server.serve())
    # In a thread: what starts beside the server talks to the database.
    started = loop.run_in_executor(None, on_start)
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait({serving, stopped, _failure_of(started)}, return_when=asyncio.FIRST_COMPLETED)
    application.stop()
    await started
    if not serving.done():
        server.stop()  # type: ignore[no-untyped-call]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(serving), GRACE_SECONDS)
    if serving.done() and not serving.cancelled():
        serving.result()


def _failure_of(started: asyncio.Future[None]) -> asyncio.Future[None]:
    """Give a future that ends only if the start fails, so that the server does not run on half started."""
    failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(done: asyncio.Future[None]) -> None:
        if done.exception() is not None and not failure.done():
            failure.set_result(None)

    started.add_done_callback(tell)
    return failure
