"""Streams of a task's log and events: raw ASGI, woken from any thread."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.db import connection

from gaas.feeds import PIECE_BYTES, _whole_characters
from gaas.lib import clock, tickets, wake
from gaas.streams import Streams
from gaas.tests.s3 import keep_files_at
from gaas.tests.test_request_log import lines
from tasks import services
from tasks.models import Attempt, LogChunk, Task
from tasks.services import archive_logs
from tasks.tests.rig import Rig, a_task, an_approved_task, running_on

pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = 60


written = lines


class Watcher:
    """Be one client: what is sent is read into (kind, data, id)."""

    def __init__(self, streams: Streams, path: str, **headers: str) -> None:
        self.hang_up = asyncio.Event()
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.text = b""
        self.takes = asyncio.Event()
        self.takes.set()
        parts = urlsplit(path)
        scope = {
            "type": "http",
            "method": "GET",
            "path": parts.path,
            "query_string": parts.query.encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        }
        self.done = asyncio.ensure_future(streams(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self.hang_up.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        await self.takes.wait()
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.text += message["body"]

    def events(self) -> Iterator[tuple[str, Any, str]]:
        for block in self.text.decode().split("\n\n")[:-1]:
            said = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
            if "event" in said:
                yield said["event"], json.loads(said["data"]), said.get("id", "")

    def log(self) -> str:
        return "".join(data["text"] for kind, data, _ in self.events() if kind == "log")

    async def sees(self, look: Callable[[Watcher], Any]) -> Any:
        for _ in range(SECONDS * 100):
            if seen := look(self):
                return seen
            assert not self.done.done() or look(self), self.text
            await asyncio.sleep(0.01)
        raise AssertionError(self.text)

    async def end(self) -> Watcher:
        await asyncio.wait_for(asyncio.shield(self.done), SECONDS)
        return self


@pytest.fixture
def rig(olga: Any) -> Rig:
    return Rig(olga.personal_account)


@pytest.fixture
def task(alice: Any, dana: Any) -> Task:
    return an_approved_task(alice, dana)


@pytest.fixture
def offer(rig: Rig, task: Task) -> dict[str, Any]:
    return running_on(rig)


def address(task: Task, what: str = "logs", user: Any = None, key: Any = None, **query: Any) -> str:
    by = f"{user.pk if user else task.submitted_by_id}" + (f":{key.pk}" if key else "")
    ticket = tickets.issue(purpose="stream", subject=f"{task.pk}:{by}")
    return f"/api/live/v1/tasks/{task.pk}/{what}?{urlencode({'ticket': ticket, **query})}"


def live(scene: Callable[[Streams], Coroutine[Any, Any, Any]]) -> Any:
    """Play a scene in a process's loop that hears wakes."""

    async def play() -> Any:
        streams = Streams()
        streams.feeds.bind(asyncio.get_running_loop())
        unsubscribe = wake.subscribe(streams.feeds.hear)
        try:
            return await scene(streams)
        finally:
            unsubscribe()
            streams.stop()

    return asyncio.run(play())


async def doing(call: Callable[..., Any], *args: Any, **how: Any) -> Any:
    """Do in another thread what changes a task, and wake its watchers as PostgreSQL's NOTIFY would."""

    def run() -> Any:
        try:
            return call(*args, **how)
        finally:
            connection.close()

    done = await asyncio.get_running_loop().run_in_executor(None, run)
    if connection.vendor == "postgresql":  # no listener runs in this process
        for id_ in await asyncio.get_running_loop().run_in_executor(None, _tasks):
            wake.publish(f"task:{id_}")
    return done


def _tasks() -> list[Any]:
    try:
        return list(Task.objects.values_list("pk", flat=True))
    finally:
        connection.close()


class TestLog:
    def test_it_follows_what_is_written_until_the_end(self, rig: Rig, task: Task, offer: Any) -> None:
        rig.log(offer, b"one\n", 0)

        async def scene(streams: Streams) -> Watcher:
            watcher = Watcher(streams, address(task))
            await watcher.sees(lambda w: w.log() == "one\n")
            await doing(rig.log, offer, b"two\n", 4)
            await watcher.sees(lambda w: w.log() == "one\ntwo\n")
            await doing(rig.finish, offer, log_size=8)
            return await watcher.end()

        watcher = live(scene)
        events = list(watcher.events())
        assert watcher.status == 200
        assert watcher.headers[b"content-type"].startswith(b"text/event-stream")
        assert [id_ for kind, _, id_ in events if kind == "log"] == [f"{offer['id']}:4", f"{offer['id']}:8"]
        kind, data, id_ = events[-1]
        assert (kind, data["status"], data["exit_code"], id_) == ("end", "COMPLETED", 0, "end")

    def test_it_resumes_behind_the_last_event(self, rig: Rig, task: Task, offer: Any) -> None:
        rig.log(offer, b"one\ntwo\n", 0)
        rig.finish(offer, log_size=8)

        async def scene(streams: Streams) -> Watcher:
            return await Watcher(streams, address(task), last_event_id=f"{offer['id']}:4").end()

        assert live(scene).log() == "two\n"

    def test_it_goes_on_where_the_log_was_packed_meanwhile(self, rig: Rig, task: Task, offer: Any) -> None:
        text = bytes(range(32, 127)) * 2000
        rig.log(offer, text, 0)
        rig.finish(offer, log_size=len(text))
        due = clock.now() + timedelta(minutes=2)

        async def scene(streams: Streams) -> Watcher:
            await doing(archive_logs, now=due)
            return await Watcher(streams, address(task), last_event_id=f"{offer['id']}:{PIECE_BYTES - 5}").end()

        assert live(scene).log().encode() == text[PIECE_BYTES - 5 :]
        assert not LogChunk.objects.exists()

    def test_it_ends_early_while_a_packed_log_cannot_be_read(
        self, rig: Rig, task: Task, offer: Any, tmp_path: Path
    ) -> None:
        rig.log(offer, b"text", 0)
        rig.finish(offer, log_size=4)
        archive_logs(now=clock.now() + timedelta(minutes=2))

        async def scene(streams: Streams) -> Watcher:
            return await Watcher(streams, address(task)).end()

        with keep_files_at(f"file://{tmp_path}"):
            assert not {"log", "end"} & {kind for kind, _, _ in live(scene).events()}
        assert live(scene).log() == "text"

    def test_a_log_that_was_removed_is_one_notice(self, rig: Rig, task: Task, offer: Any, settings: Any) -> None:
        settings.LOG_KEEP_DAYS = 1
        text = b"x" * 3 * PIECE_BYTES
        rig.log(offer, text, 0)
        rig.finish(offer, log_size=len(text))
        for days in (1, 2):
            archive_logs(now=clock.now() + timedelta(days=days))

        async def scene(streams: Streams) -> Watcher:
            return await Watcher(streams, address(task, offset=0)).end()

        watcher = live(scene)
        assert [(data["offset"], data["next"]) for kind, data, _ in watcher.events() if kind == "log"] == [
            (0, len(text))
        ]
        assert watcher.log().startswith("[gaas: This log was removed on ")

    def test_it_goes_on_from_attempt_to_attempt(self, rig: Rig, task: Task, offer: Any) -> None:
        rig.log(offer, b"first\n", 0)

        async def scene(streams: Streams) -> Watcher:
            watcher = Watcher(streams, address(task))
            await watcher.sees(lambda w: w.log() == "first\n")
            await doing(rig.finish, offer, "FAILED", fault="host", code="disk", log_size=6)
            again = await doing(running_on, rig)
            await doing(rig.log, again, b"second\n", 0)
            await watcher.sees(lambda w: w.log() == "first\nsecond\n")
            await doing(rig.finish, again, log_size=7)
            return await watcher.end()

        watcher = live(scene)
        told = [(data["number"], data["status"]) for kind, data, _ in watcher.events() if kind == "attempt"]
        assert told[0][0] == 1
        assert (1, "FAILED") in told
        assert told[-1] == (2, "SUCCEEDED")

    def test_it_begins_near_the_end(self, rig: Rig, task: Task, offer: Any) -> None:
        rig.log(offer, b"0123456789", 0)
        rig.finish(offer, log_size=10)

        async def scene(streams: Streams) -> Watcher:
            return await Watcher(streams, address(task, tail=3)).end()

        assert live(scene).log() == "789"

    def test_what_is_no_text_harms_nobody(self, rig: Rig, task: Task, offer: Any) -> None:
        hostile = b"\xff\x00\x1b[31mred\x1b[0m\r\n\nevent: end\ndata: {}\n\n\xe2\x82"
        rig.log(offer, hostile, 0)

        async def scene(streams: Streams) -> Watcher:
            watcher = Watcher(streams, address(task))
            await watcher.sees(lambda w: "red" in w.log())
            assert not watcher.log().endswith("�")  # the rest of a character may still come
            await doing(rig.log, offer, b"\xac", len(hostile))
            await watcher.sees(lambda w: w.log().endswith("€"))
            await doing(rig.log, offer, b"\xe2", len(hostile) + 1)
            await doing(rig.finish, offer, log_size=len(hostile) + 2)
            return await watcher.end()

        watcher = live(scene)
        assert [kind for kind, _, _ in watcher.events()].count("end") == 1
        assert watcher.log() == (hostile + b"\xac\xe2").decode(errors="replace")

    def test_a_long_log_comes_whole_and_in_order(self, rig: Rig, task: Task, offer: Any) -> None:
        line = "é".encode() * 100 + b"\n"
        text = line * (3 * PIECE_BYTES // len(line))
        for offset in range(0, len(text), 100_000):
            rig.log(offer, text[offset : offset + 100_000], offset)
        rig.finish(offer, log_size=len(text))

        async def scene(streams: Streams) -> Watcher:
            return await Watcher(streams, address(task, offset=0)).end()

        assert live(scene).log().encode() == text

    def test_many_watchers_share_one_read(self, rig: Rig, task: Task, offer: Any, settings: LazySettings) -> None:
        settings.STREAMS_PER_USER = 200

        async def scene(streams: Streams) -> tuple[int, set[str]]:
            watchers = [Watcher(streams, address(task)) for _ in range(100)]
            for watcher in watchers:
                await watcher.sees(lambda w: w.text)
            before = streams.feeds.pool.reads
            await doing(rig.log, offer, b"to all\n", 0)
            for watcher in watchers:
                await watcher.sees(lambda w: w.log())
            cost = streams.feeds.pool.reads - before
            for watcher in watchers:
                watcher.hang_up.set()
                await watcher.end()
            assert streams.feeds._feeds == {}
            return cost, {watcher.log() for watcher in watchers}

        cost, seen = live(scene)
        assert seen == {"to all\n"}
        assert cost <= 4  # a look and a piece, and one look more for a wake that came between

    def test_a_wake_that_was_lost_is_made_up_for(
        self, rig: Rig, task: Task, offer: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gaas.feeds.RECHECK_SECONDS", 0.1)

        async def scene(streams: Streams) -> str:
            streams.feeds.bind(None)  # type: ignore[arg-type]  # deaf
            watcher = Watcher(streams, address(task))
            await watcher.sees(lambda w: w.text)
            await doing(rig.log, offer, b"unheard\n", 0)
            await watcher.sees(lambda w: w.log())
            return watcher.log()

        assert live(scene) == "unheard\n"

    def test_it_says_something_now_and_then(self, task: Task, offer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gaas.streams.PING_SECONDS", 0.05)

        async def scene(streams: Streams) -> None:
            watcher = Watcher(streams, address(task))
            await watcher.sees(lambda w: w.text.count(b"\n:\n") >= 2)

        live(scene)

    def test_who_takes_nothing_is_let_go(self, rig: Rig, task: Task, offer: Any, settings: LazySettings) -> None:
        settings.STREAM_SLOW_SECONDS = 0.1

        async def scene(streams: Streams) -> dict[str, Any]:
            watcher = Watcher(streams, address(task))
            await watcher.sees(lambda w: w.text)
            watcher.takes.clear()
            await doing(rig.log, offer, b"x" * 1000, 0)
            await watcher.end()
            return streams.feeds._feeds

        assert live(scene) == {}

    def test_a_stop_of_the_server_ends_it(self, task: Task, offer: Any) -> None:
        async def scene(streams: Streams) -> int:
            watcher = Watcher(streams, address(task))
            await watcher.sees(lambda w: w.text)
            streams.stop()
            return (await watcher.end()).status

        assert live(scene) == 200


class TestEvents:
    def test_it_tells_what_happens(self, rig: Rig, task: Task, offer: Any, dana: Any) -> None:
        async def scene(streams: Streams) -> Watcher:
            watcher = Watcher(streams, address(task, "events"))
            await watcher.sees(lambda w: "PROCESSING" in str(list(w.events())))
            rig.held[offer["id"]]["progress"] = {"step": 3, "of": 10}
            await doing(rig.sync)
            await watcher.sees(lambda w: any(data.get("progress") for _, data, _ in w.events()))
            await doing(rig.finish, offer)
            return await watcher.end()

        events = list(live(scene).events())
        story = [data["to_status"] for kind, data, _ in events if kind == "event"]
        assert story == ["PENDING", "APPROVED", "ASSIGNED", "PROCESSING", "COMPLETED"]
        assert events[-1][0] == "end"

    def test_it_resumes_behind_the_last_event(self, task: Task, rig: Rig, offer: Any) -> None:
        rig.finish(offer)
        known = [str(event.pk) for event in task.events.order_by("id")]

        async def scene(streams: Streams) -> Watcher:
            return await Watcher(streams, address(task, "events"), last_event_id=known[2]).end()

        assert [id_ for kind, _, id_ in live(scene).events() if kind == "event"] == known[3:]

    def test_a_task_that_never_ran_ends_too(self, alice: Any) -> None:
        task, now = a_task(alice), clock.now()

        async def scene(streams: Streams) -> Watcher:
            watcher = Watcher(streams, address(task))
            await watcher.sees(lambda w: w.text)
            await doing(services.cancel, task, by=alice, reason="", now=now)
            return await watcher.end()

        events = list(live(scene).events())
        assert {kind for kind, _, _ in events} == {"task", "end"}
        assert events[-1][1]["status"] == "CANCELLED"


class TestRefusals:
    @pytest.mark.parametrize(
        ("query", "headers", "status", "attr"),
        [
            ({"ticket": "forged"}, {}, 401, None),
            ({"offset": "-1"}, {}, 400, "offset"),
            ({"offset": "9" * 30}, {}, 400, "offset"),
            ({"tail": "x"}, {}, 400, "tail"),
            ({"attempt": "x"}, {}, 400, "attempt"),
            ({"attempt": str(uuid4())}, {}, 404, None),
            ({}, {"last_event_id": "garbage"}, 400, "Last-Event-ID"),
            ({}, {"last_event_id": f"{uuid4()}:3"}, 404, None),
        ],
        ids=["ticket", "negative", "huge", "tail", "attempt", "unknown attempt", "resume", "unknown resume"],
    )
    def test_it_names_what_is_wrong(
        self, task: Task, offer: Any, query: Any, headers: Any, status: int, attr: str | None
    ) -> None:
        async def scene(streams: Streams) -> Watcher:
            return await Watcher(streams, address(task, **query), **headers).end()

        watcher = live(scene)
        assert (watcher.status, json.loads(watcher.text)["errors"][0]["attr"]) == (status, attr)

    def test_a_ticket_is_for_one_task(self, task: Task, offer: Any, alice: Any) -> None:
        other = a_task(alice)

        async def scene(streams: Streams) -> Watcher:
            return await Watcher(streams, address(other).replace(f"tasks/{other.pk}", f"tasks/{task.pk}")).end()

        assert live(scene).status == 401

    def test_an_old_ticket_opens_nothing(self, task: Task, offer: Any, settings: LazySettings) -> None:
        path = address(task)
        settings.TICKET_SECONDS = -1

        async def scene(streams: Streams) -> Watcher:
            return await Watcher(streams, path).end()

        assert live(scene).status == 401

    def test_one_person_has_so_many(self, task: Task, offer: Any, dana: Any, settings: LazySettings) -> None:
        settings.STREAMS_PER_USER = 2

        async def scene(streams: Streams) -> tuple[Watcher, Watcher, Watcher]:
            open_ = [Watcher(streams, address(task)) for _ in range(2)]
            for watcher in open_:
                await watcher.sees(lambda w: w.text)
            third = await Watcher(streams, address(task)).end()
            another = Watcher(streams, address(task, user=dana))
            await another.sees(lambda w: w.text)
            open_[0].hang_up.set()
            await open_[0].end()
            fourth = Watcher(streams, address(task))
            await fourth.sees(lambda w: w.text)
            return third, another, fourth

        third, another, fourth = live(scene)
        assert (third.status, third.headers[b"retry-after"]) == (429, b"30")
        assert (another.status, fourth.status) == (200, 200)

    def test_after_the_end_a_browser_is_told_to_stop(self, task: Task, offer: Any) -> None:
        async def scene(streams: Streams) -> Watcher:
            return await Watcher(streams, address(task), last_event_id="end").end()

        assert live(scene).status == 204

    def test_it_leaves_one_line_without_the_ticket(self, task: Task, rig: Rig, offer: Any, written: Any) -> None:
        rig.finish(offer)

        async def scene(streams: Streams) -> None:
            await Watcher(streams, address(task)).end()

        live(scene)
        [line] = [line for line in written() if "/live/" in line.get("path", "")]
        assert (line["path"], line["status"], line["user"]) == (
            f"/api/live/v1/tasks/{task.pk}/logs",
            200,
            str(task.submitted_by_id),
        )
        assert line["size"] > 0
        assert line["duration_ms"] > 0
        assert "ticket" not in str(line)


class TestTickets:
    def test_a_member_is_given_an_address(self, task: Task, alice: Any, api: Any) -> None:
        for what in ("logs", "events"):
            body = api(alice).get(f"/api/v1/tasks/{task.pk}/{what}/stream/").json()
            parts = urlsplit(body["url"])
            assert parts.path == f"/api/live/v1/tasks/{task.pk}/{what}"
            ticket = parse_qs(parts.query)["ticket"][0]
            assert tickets.read(purpose="stream", ticket=ticket) == f"{task.pk}:{alice.pk}"
            assert body["expires_in"] == 300

    def test_an_outsider_is_not(self, task: Task, charlie: Any, api: Any) -> None:
        assert api(charlie).get(f"/api/v1/tasks/{task.pk}/logs/stream/").status_code == 404
        assert Attempt.objects.count() == 0


class TestWholeCharacters:
    @pytest.mark.parametrize("text", ["a", "é", "€", "😀", "x€", "a😀"])
    def test_it_holds_back_what_is_not_whole(self, text: str) -> None:
        data = text.encode()
        assert _whole_characters(data) == len(data)
        last = len(text[-1].encode())
        for cut in range(1, last):
            assert _whole_characters(data[:-cut]) == len(data) - last

    def test_it_lets_through_what_is_no_text(self) -> None:
        assert _whole_characters(b"\x80\x80\x80\x80") == 4
        assert _whole_characters(b"a\xff") in (1, 2)
        assert _whole_characters(b"") == 0
