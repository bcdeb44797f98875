"""The `live` process: raw ASGI routes for what waits, and Django through a thread pool for all else.

On PostgreSQL one direct connection LISTENs for wakes; on SQLite they come from this process itself.
`up` runs the worker and the beat beside it in the same process (gaas.embedded).
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import sys
import threading
import time
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gaas.settings")
django.setup()

from a2wsgi import WSGIMiddleware  # noqa: E402
from django.conf import settings  # noqa: E402
from django.db import connection  # noqa: E402

from gaas import relays, streams, waits  # noqa: E402
from gaas.lib import wake  # noqa: E402
from gaas.patience import Patience  # noqa: E402
from gaas.raw import Exchange  # noqa: E402
from gaas.wsgi import application as django_application  # noqa: E402

log = logging.getLogger("app")

# What a caller is told with a refusal.
_OF_A_REFUSAL = frozenset({b"content-type", b"www-authenticate", b"retry-after", b"cache-control"})

THREADS = int(os.environ.get("LIVE_THREADS", "16"))
TOLD_EVERY = 60.0


class Live:
    """Route a scope; start and stop what listens with the server's lifespan."""

    def __init__(self) -> None:
        self.waits = waits.Waits()
        self.streams = streams.Streams()
        self.relays = relays.Relays(_ask_django)
        self.django = WSGIMiddleware(django_application, workers=THREADS)
        self._listening: _Listener | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http" and scope["path"] == waits.PATH:
            await self.waits(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].startswith(streams.PREFIX):
            await self.streams(scope, receive, send)
        elif scope["type"] == "http" and self.relays.is_service(scope):
            await self.relays(scope, receive, send)
        elif scope["type"] == "websocket" and scope["path"].startswith(relays.AGENTS):
            await self.relays.connect(scope, receive, send)
        elif scope["type"] == "http":
            client = Patience(scope, receive, send)
            await self.django(scope, client.receive, client.send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    def start(self, loop: asyncio.AbstractEventLoop, url: str = "") -> None:
        """Begin to hear wakes; once, whether the server's lifespan or gaas.serving comes first."""
        self.relays.url = settings.LIVE_INTERNAL_URL or url or self.relays.url
        if self._loop is loop:
            return
        self._loop = loop
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
        self.relays.stop()
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


def _ask_django(exchange: Exchange, path: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Ask an endpoint of the API with a caller's Authorization, and nothing else of theirs. Runs in a thread."""
    client = exchange.scope.get("client") or ("", 0)
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "live",
        "SERVER_PORT": "0",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": exchange.header(b"host"),
        "HTTP_ACCEPT": "application/json",
        "HTTP_AUTHORIZATION": exchange.header(b"authorization"),
        "HTTP_X_REQUEST_ID": exchange.request_id,
        "HTTP_X_FORWARDED_FOR": exchange.header(b"x-forwarded-for"),
        "HTTP_X_FORWARDED_PROTO": exchange.header(b"x-forwarded-proto"),
        "REMOTE_ADDR": client[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": exchange.scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    told: list[Any] = []
    answer = django_application(environ, lambda status, headers, _=None: told.extend((status, headers)))
    try:
        body = b"".join(answer)
    finally:
        answer.close()
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in told[1]]
    kept = [(name, value) for name, value in headers if name in _OF_A_REFUSAL]
    return int(told[0].split()[0]), kept, body


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
