"""The relay's side of the server: what agents send there is as little trusted as anything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from gaas.lib import tickets
from gaas.raw import Exchange, Gone
from gaas.relay import Broken, Call, Relay, TooLarge, answer_head
from gaas.relays import AGENTS, HOP, Relays, _with_query
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
        assert answer_head(head(404, headers)) == {"status": 404, "headers": [(b"content-type", b"text/plain")]}

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
            answer_head(payload)


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


class TestFrames:
    def test_parts_without_bytes_are_not_kept(self) -> None:
        def scene(relay: Relay, call: Call, sent: list[bytes]) -> int:
            for _ in range(1000):
                relay.take(frames.pack(frames.DATA, 1))
            return call.parts.qsize()

        assert playing(scene) == 0

    @pytest.mark.parametrize("end", [frames.END, frames.CANCEL], ids=["end", "cancel"])
    def test_nothing_is_kept_after_the_end(self, end: int) -> None:
        def scene(relay: Relay, call: Call, sent: list[bytes]) -> int:
            for _ in range(1000):
                relay.take(frames.pack(end, 1, b"x" * 500))
            relay.take(frames.pack(frames.DATA, 1, b"late"))
            return call.parts.qsize()

        assert playing(scene) == 1


class TestHeadersOfTheHouse:
    @pytest.mark.parametrize(
        "name",
        [
            "X-Accel-Redirect",
            "X-Accel-Limit-Rate",
            "X-Sendfile",
            "X-LIGHTTPD-send-file",
            "Strict-Transport-Security",
            "Alt-Svc",
            "NEL",
            "Report-To",
            "Reporting-Endpoints",
            "X-Content-Type-Options",
            "Access-Control-Allow-Origin",
            "Access-Control-Allow-Credentials",
        ],
    )
    def test_a_program_speaks_neither_to_the_proxy_nor_for_the_origin(self, name: str) -> None:
        assert answer_head(head(200, [(name, "/etc"), ("ETag", "1")]))["headers"] == [(b"etag", b"1")]

    @pytest.mark.parametrize(
        ("said", "passed"),
        [
            (["public, max-age=60"], b"private, max-age=60"),
            (["s-maxage=600", "Public"], b"private"),
            (["no-store"], b"private, no-store"),
            (['private="a, public", max-age=1'], b"private, max-age=1"),
            (["proxy-revalidate, must-revalidate,immutable"], b"private, immutable"),
        ],
    )
    def test_no_cache_for_several_keeps_an_answer(self, said: list[str], passed: bytes) -> None:
        headers = [("Cache-Control", value) for value in said]
        told = answer_head(head(200, [*headers, ("Surrogate-Control", "max-age=9"), ("CDN-Cache-Control", "public")]))
        assert told["headers"] == [(b"cache-control", passed)]

    @pytest.mark.parametrize("sizes", [["1", "2"], ["1", "1"], ["-1"], ["1_0"], ["+1"], ["x"], ["1, 1"], [""]], ids=str)
    def test_a_length_is_one_number(self, sizes: list[str]) -> None:
        assert answer_head(head(200, [("Content-Length", "10")]))["headers"] == [(b"content-length", b"10")]
        with pytest.raises(frames.BadFrame):
            answer_head(head(200, [("Content-Length", size) for size in sizes]))


class TestHop:
    def test_no_path_leads_out_of_the_relay(self) -> None:
        """A path of dots must come to the program, not to another route of the next process."""

        async def play() -> list[str]:
            asked: list[str] = []

            async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                asked.append((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode())
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                writer.close()

            server = await asyncio.start_server(peer, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            house = Relays(lambda *_: (500, [], b""))
            for path in ("/x/../../../../metrics", "/./a%2e b/.."):
                exchange = Exchange(
                    {"type": "http", "method": "GET", "path": "/", "query_string": b"q=1", "headers": []},
                    a_caller(),
                    a_taker(),
                )
                await house._hop(exchange, f"http://127.0.0.1:{port}", ATTEMPT, _with_query(path, exchange))
            server.close()
            return asked

        first, second = asyncio.run(play())
        assert first == f"{HOP}{ATTEMPT}/x/%2E%2E/%2E%2E/%2E%2E/%2E%2E/metrics?q=1"
        assert second == f"{HOP}{ATTEMPT}/%2E/a%252e%20b/%2E%2E?q=1"


class TestBodies:
    def test_one_that_is_too_large_on_its_way_is_refused_as_such(self, settings: Any) -> None:
        settings.SERVICE_BODY_BYTES = 100

        async def play() -> None:
            house, relay = Relays(lambda *_: (500, [], b"")), Relay(ATTEMPT, 1, a_taker())
            scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}
            exchange = Exchange(scope, a_caller(b"x" * 60, b"x" * 60), a_taker())
            await asyncio.wait_for(house._pass_on(exchange, relay, "/x"), 30)

        with pytest.raises(TooLarge):  # answered 413
            asyncio.run(play())


class TestSlowCallers:
    @pytest.mark.parametrize("parts", [0, 1])
    def test_one_that_takes_nothing_frees_its_place(self, settings: Any, parts: int) -> None:
        """Also at the very end, where there is nothing more to be said than that it is the end."""
        settings.STREAM_SLOW_SECONDS = 0.2

        async def play() -> Relay:
            house, relay = Relays(lambda *_: (500, [], b"")), Relay(ATTEMPT, 1, a_taker())

            async def takes_the_head_alone(message: dict[str, Any]) -> None:
                if message["type"] == "http.response.body":
                    await asyncio.sleep(3600)

            scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
            passing = asyncio.ensure_future(
                house._pass_on(Exchange(scope, a_caller(), takes_the_head_alone), relay, "/x")
            )
            while not relay.calls:
                await asyncio.sleep(0)
            (id_,) = relay.calls
            relay.take(frames.pack(frames.OPEN, id_, head()))
            for _ in range(parts):
                relay.take(frames.pack(frames.DATA, id_, b"x"))
            relay.take(frames.pack(frames.END, id_))
            with pytest.raises(Gone):
                await asyncio.wait_for(passing, 30)
            return relay

        assert asyncio.run(play()).calls == {}


def a_caller(*parts: bytes) -> Any:
    """Send a body in parts, then stay."""
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop(0)
        await asyncio.sleep(3600)
        raise AssertionError

    return receive


def a_taker() -> Any:
    async def send(message: dict[str, Any]) -> None:
        pass

    return send
