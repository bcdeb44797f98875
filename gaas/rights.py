"""Whether those who watch may still see what they watch: asked for all of them together, now and then.

A ticket is signed once and a stream lasts an hour; a membership, or the API key that asked for the ticket, may end in
between. No watcher holds a thread or a connection for it: one pass each STREAM_RIGHT_SECONDS costs a few queries for
each person, however much they watch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from django.conf import settings

from gaas.feeds import RECHECK_AT_ONCE, Pool
from tasks.services import watch
from tasks.services.watch import Right

log = logging.getLogger("app")


class Rights:
    """Keep for each watcher a future that is done once the right is lost."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._held: dict[Right, set[asyncio.Future[None]]] = {}
        self._checking: asyncio.Task[None] | None = None

    async def sees(self, right: Right) -> bool:
        """Ask now, as at the beginning of a stream."""
        return right in await self._pool.run(("sees", right), lambda: watch.seen_still([right]))

    @contextlib.contextmanager
    def watched(self, right: Right) -> Iterator[asyncio.Future[None]]:
        """Lend a future of this watcher's own."""
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._held.setdefault(right, set()).add(lost)
        if self._checking is None or self._checking.done():
            self._checking = asyncio.ensure_future(self._check())
        try:
            yield lost
        finally:
            self._held[right].discard(lost)
            if not self._held[right]:
                del self._held[right]

    def stop(self) -> None:
        if self._checking is not None:
            self._checking.cancel()

    async def _check(self) -> None:
        while self._held:
            await asyncio.sleep(settings.STREAM_RIGHT_SECONDS)
            # By user, so that one person's tasks are asked for together.
            rights = sorted(self._held, key=lambda right: right[1])
            for begin in range(0, len(rights), RECHECK_AT_ONCE):
                some = rights[begin : begin + RECHECK_AT_ONCE]
                try:
                    seen = await self._pool.run(("rights", begin), lambda some=some: watch.seen_still(some))  # type: ignore[misc]
                except Exception:
                    # The database is away: what was allowed is allowed until it can be asked again.
                    log.exception("the rights of watchers could not be looked at")
                    continue
                for right in set(some) - seen:
                    for lost in self._held.get(right, ()):
                        if not lost.done():
                            lost.set_result(None)
