"""Agents' long waits: raw ASGI, woken from any thread."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any
from urllib.parse import urlencode

import pytest

from gaas.lib import tickets
from gaas.waits import PATH, Waits

HOST = "0199a0b2-0000-7000-8000-000000000001"


async def ask(waits: Waits, *, method: str = "GET", gone: asyncio.Event | None = None, **query: str) -> tuple[int, Any]:
    """Make one request and give status and body."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"x-request-id", b"mine-1")]
    scope = {"type": "http", "method": method, "path": PATH, "query_string": urlencode(query).encode()}
    await waits({**scope, "headers": headers}, receive, send)
    assert dict(sent[0]["headers"])[b"x-request-id"] == b"mine-1"
    body = sent[1]["body"]
    return sent[0]["status"], json.loads(body) if body else None


def ticket() -> str:
    return tickets.issue(purpose="wait", subject=HOST)


class TestWaits:
    def test_it_answers_when_the_revision_moves_on(self):
        async def run() -> tuple[int, Any]:
            waits = Waits()
            waits.bind(asyncio.get_running_loop())
            asking = asyncio.ensure_future(ask(waits, ticket=ticket(), revision="4"))
            await asyncio.sleep(0.02)
            threading.Thread(target=waits.hear, args=[f"host:{HOST}:5"]).start()
            return await asyncio.wait_for(asking, 30)

        assert asyncio.run(run()) == (200, {"revision": 5})

    def test_it_keeps_a_wake_that_came_before_the_wait(self):
        async def run() -> tuple[int, Any]:
            waits = Waits()
            waits.bind(asyncio.get_running_loop())
            waits.hear(f"host:{HOST}:9")
            await asyncio.sleep(0)
            return await asyncio.wait_for(ask(waits, ticket=ticket(), revision="8"), 30)

        assert asyncio.run(run()) == (200, {"revision": 9})

    def test_it_leaves_other_hosts_asleep(self, settings):
        settings.WAIT_SECONDS = 0.1

        async def run() -> tuple[int, Any]:
            waits = Waits()
            waits.bind(asyncio.get_running_loop())
            asking = asyncio.ensure_future(ask(waits, ticket=ticket(), revision="1"))
            await asyncio.sleep(0.02)
            waits.hear("host:0199a0b2-0000-7000-8000-000000000002:7")
            return await asyncio.wait_for(asking, 30)

        assert asyncio.run(run()) == (204, None)

    def test_it_answers_at_once_when_the_server_stops(self):
        async def run() -> tuple[int, Any]:
            waits = Waits()
            waits.bind(asyncio.get_running_loop())
            asking = asyncio.ensure_future(ask(waits, ticket=ticket(), revision="1"))
            await asyncio.sleep(0.02)
            waits.stop()
            return await asyncio.wait_for(asking, 30)

        assert asyncio.run(run()) == (204, None)

    def test_it_forgets_an_agent_that_hung_up(self):
        async def run() -> dict[str, Any]:
            waits = Waits()
            waits.bind(asyncio.get_running_loop())
            gone = asyncio.Event()
            asking = asyncio.ensure_future(ask(waits, gone=gone, ticket=ticket(), revision="1"))
            await asyncio.sleep(0.02)
            gone.set()
            await asyncio.wait_for(asking, 30)
            return waits._waiting

        assert asyncio.run(run()) == {}

    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ({"revision": "1"}, 401),
            ({"ticket": "forged", "revision": "1"}, 401),
            ({"ticket": "for another purpose", "revision": "1"}, 401),
            ({"revision": "-1"}, 400),
            ({"revision": "one"}, 400),
            ({"revision": "9" * 30}, 400),
            ({}, 400),
        ],
    )
    def test_it_refuses_bad_questions(self, query, status):
        if status == 400:
            query = {"ticket": ticket(), **query}
        if query.get("ticket") == "for another purpose":
            query = {**query, "ticket": tickets.issue(purpose="stream", subject=HOST)}
        code, body = asyncio.run(ask(Waits(), **query))
        assert code == status
        assert body["errors"][0]["code"] in {"not_authenticated", "invalid"}
        assert body["request_id"] == "mine-1"

    def test_it_refuses_an_old_ticket(self, settings):
        old = ticket()
        settings.TICKET_SECONDS = -1
        assert asyncio.run(ask(Waits(), ticket=old, revision="1"))[0] == 401

    def test_it_takes_no_post(self):
        assert asyncio.run(ask(Waits(), method="POST", ticket=ticket(), revision="1"))[0] == 405


def test_a_query_without_end_is_refused_and_breaks_nothing():
    query = {f"q{number}": "x" for number in range(200)}
    assert asyncio.run(ask(Waits(), **query))[0] == 401
