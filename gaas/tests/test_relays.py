"""The relay's side of the server: what agents send there is as little trusted as anything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from gaas.lib import tickets
from gaas.relays import AGENTS, Broken, Call, Relay, Relays, _answer_head
from gpus.agent import frames

ATTEMPT = "0199a0b2-0000-7000-8000-000000000001"


def playing(scene: Callable[[Relay, Call, list[bytes]], Any]) -> Any:
    async def play() -> Any:
        sent: list[bytes] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message["bytes"])

        relay = Relay(ATTEMPT, 1, send)
        _, call = relay.open()
        return scene(relay, call, sent)

    return asyncio.run(play())


def head(status: Any = 200, headers: Any = ()) -> bytes:
    return json.dumps({"status": status, "headers": list(headers)}).encode()


class TestAnswerHead:
    def test_it_keeps_what_is_the_programs(self) -> None:
        headers = [("Content-Type", "text/plain"), ("Set-Cookie", "a=b"), ("Connection", "x-own"), ("X-Own", "1")]
        assert _answer_head(head(404, headers)) == {"status": 404, "headers": [(b"content-type", b"text/plain")]}

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"[]",
            b"\xff",
            b"[" * 50_000,
            head(True),
            head("200"),
            head(99),
            head(101),
            head(1000),
            head(200, [("a b", "c")]),
            head(200, [("", "c")]),
            head(200, [("a", "b\r\nset-cookie: x")]),
            head(200, [("a", "b\0")]),
            head(200, [("é", "b")]),
            head(200, [("a", "€")]),
            head(200, ["ab", 3]),
            head(200, [("a", "b")] * 101),
        ],
        ids=range(17),
    )
    def test_it_takes_nothing_that_is_no_head(self, payload: bytes) -> None:
        with pytest.raises(frames.BadFrame):
            _answer_head(payload)


class TestRelay:
    def test_a_body_beyond_its_credit_is_refused(self) -> None:
        def scene(relay: Relay, call: Call, sent: list[bytes]) -> None:
            for _ in range(frames.WINDOW // frames.CHUNK):
                relay.take(frames.pack(frames.DATA, 1, b"x" * frames.CHUNK))
            with pytest.raises(frames.BadFrame):
                relay.take(frames.pack(frames.DATA, 1, b"x"))

        playing(scene)

    def test_credit_never_grows_beyond_the_window(self) -> None:
        def scene(relay: Relay, call: Call, sent: list[bytes]) -> int:
            for _ in range(3):
                relay.take(frames.credit(1, 2**32 - 1))
            return call.credit

        assert playing(scene) == frames.WINDOW

    def test_frames_of_no_call_are_left_alone(self) -> None:
        playing(lambda relay, call, sent: relay.take(frames.pack(frames.DATA, 99, b"x")))

    def test_its_end_ends_every_call(self) -> None:
        def scene(relay: Relay, call: Call, sent: list[bytes]) -> tuple[Any, Any]:
            relay.close()
            with pytest.raises(Broken):
                relay.open()
            return call.head.exception(), call.parts.get_nowait()

        assert all(isinstance(end, Broken) for end in playing(scene))


class TestConnect:
    @pytest.mark.parametrize(
        "ticket",
        [
            "",
            "forged",
            tickets.issue(purpose="wait", subject=f"{ATTEMPT}:1:host"),
            tickets.issue(purpose="relay", subject="0199a0b2-0000-7000-8000-000000000002:1:host"),
        ],
        ids=["none", "forged", "another purpose", "another attempt"],
    )
    def test_it_wants_a_ticket_for_this_attempt(self, ticket: str) -> None:
        async def ask() -> list[dict[str, Any]]:
            sent: list[dict[str, Any]] = []

            async def receive() -> dict[str, Any]:
                return {"type": "websocket.connect"}

            async def send(message: dict[str, Any]) -> None:
                sent.append(message)

            scope = {"type": "websocket", "path": f"{AGENTS}{ATTEMPT}", "query_string": f"ticket={ticket}".encode()}
            await Relays(lambda *_: (500, [], b"")).connect({**scope, "headers": []}, receive, send)
            return sent

        assert asyncio.run(ask()) == [{"type": "websocket.close", "code": 4401}]
