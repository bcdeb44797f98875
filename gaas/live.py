"""The `live` process: raw ASGI routes for what waits, and Django through a thread pool for all else.

On PostgreSQL one direct connection LISTENs for wakes; on SQLite they come from this process itself.
`up` runs the worker and the beat beside it in the same process (gaas.embedded).
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gaas.settings")
django.setup()

from a2wsgi import WSGIMiddleware  # noqa: E402
from django.conf import settings  # noqa: E402
from django.db import connection  # noqa: E402

from gaas import streams, waits  # noqa: E402
from gaas.lib import wake  # noqa: E402
from gaas.wsgi import application as django_application  # noqa: E402

log = logging.getLogger("app")

THREADS = int(os.environ.get("LIVE_THREADS", "16"))
TOLD_EVERY = 60.0


class Live:
    """Route a scope; start and stop what listens with the server's lifespan."""

    def __init__(self) -> None:
        self.waits = waits.Waits()
        self.streams = streams.Streams()
        self.django = WSGIMiddleware(django_application, workers=THREADS)
        self._listening: _Listener | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http" and scope["path"] == waits.PATH:
            await self.waits(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].startswith(streams.PREFIX):
            await self.streams(scope, receive, send)
        elif scope["type"] == "http":
            await self.django(scope, _coroutine(receive), _coroutine(send))
        else:
            await send({"type": "websocket.close", "code": 1000})

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self.waits.bind(loop)
        self.streams.feeds.bind(loop)
        wake.subscribe(self.waits.hear)
        wake.subscribe(self.streams.feeds.hear)
        if connection.vendor == "postgresql":
            self._listening = _Listener()
            self._listening.start()

    def stop(self) -> None:
        self.waits.stop()
        self.streams.stop()
        if self._listening is not None:
            self._listening.stop()

    async def _lifespan(self, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.start(asyncio.get_running_loop())
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _coroutine(call: Callable[..., Awaitable[Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Make a coroutine function of the server's awaitables, which a2wsgi runs from its threads."""

    async def called(*args: Any) -> Any:
        return await call(*args)

    return called


class _Listener(threading.Thread):
    """LISTEN on a connection of its own, past any pooler; reconnect for ever, saying so once a minute."""

    def __init__(self) -> None:
        super().__init__(name="wake-listener", daemon=True)
        self._ending = threading.Event()  # Thread has a `_stop` of its own

    def stop(self) -> None:
        self._ending.set()

    def run(self) -> None:
        import psycopg

        told = float("-inf")
        while not self._ending.is_set():
            try:
                with psycopg.connect(**_parameters(), autocommit=True) as direct:
                    direct.execute(f"LISTEN {wake.CHANNEL}")
                    while not self._ending.is_set():
                        for notice in direct.notifies(timeout=1):
                            wake.publish(notice.payload)
            except psycopg.Error as problem:
                # Agents fall back to their sync period meanwhile.
                if time.monotonic() - told >= TOLD_EVERY:
                    told = time.monotonic()
                    log.warning("cannot listen for wakes: %s", problem)
                self._ending.wait(2)


def _parameters() -> dict[str, Any]:
    """Give psycopg's parameters for the direct connection."""
    if settings.DATABASE_DIRECT_URL:
        return {"conninfo": settings.DATABASE_DIRECT_URL}
    parameters = connection.get_connection_params()
    return {key: parameters[key] for key in ("host", "port", "user", "password", "dbname") if key in parameters}


application = Live()
