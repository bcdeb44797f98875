"""How long one client may hold a thread of Django in `live`, where no proxy buffers what it sends and takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings

from gaas.cutting import cut

# Beyond the grace a client has to move so much a second: sixteen that do not would hold all threads.
BYTES_A_SECOND = 16 * 1024

Message = dict[str, Any]


class Patience:
    """Wait for one client STREAM_SLOW_SECONDS in all, and longer as it moves bytes; then go on as if it had hung up.

    One that does not take its answer is cut off. What is sent to it buys at most twice the time that it took: the first
    megabytes go into the kernel's buffers at once, whoever reads them, and would buy minutes. What is sent to it from
    then on is dropped: a2wsgi's thread would wait for ever on a sender that failed.
    """

    def __init__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        self._scope = scope
        self._receive, self._send = receive, send
        self._waited = self._earned = 0.0
        self.is_over = False

    async def receive(self) -> Message:
        message: Message | None = None if self.is_over else await self._within(self._receive())
        if message is None:
            return {"type": "http.disconnect"}
        self._earned += len(message.get("body", b"")) / BYTES_A_SECOND
        return message

    async def send(self, message: Message) -> None:
        if not self.is_over:
            before = self._waited
            await self._within(self._send(message), cuts=True)
            took = self._waited - before
            self._earned += min(len(message.get("body", b"")) / BYTES_A_SECOND, 2 * took)

    async def _within(self, doing: Awaitable[Any], *, cuts: bool = False) -> Any:
        began = time.monotonic()
        left = settings.STREAM_SLOW_SECONDS + self._earned - self._waited
        try:
            return await asyncio.wait_for(_coroutine(doing), max(left, 0.001))
        except TimeoutError:
            self.is_over = True
            if cuts:
                await cut(self._scope)
            return None
        finally:
            self._waited += time.monotonic() - began


async def _coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
