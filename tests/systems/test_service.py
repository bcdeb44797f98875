"""Programs that serve: requests from outside to a sandbox without network, over one process and over two."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests import peers
from tests.peers import free_port
from tests.systems.conftest import not_run
from tests.systems.house import House, Up
from tests.systems.people import PATIENCE_SECONDS, TERMINAL, Person, eventually, newcomer
from tests.systems.separate import Separate

# A service as hostile as it likes to be, on the standard library alone.
SERVICE = r"""
import http.server, json, os, socketserver, threading, time

turns = threading.Semaphore(0)

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def address_string(self): return "relay"
    def do_POST(self):
        if self.path.startswith("/turn"): turns.release()
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size); self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.answer({"method": self.command, "path": self.path, "headers": dict(self.headers), "size": len(body)})
    do_PUT = do_DELETE = do_POST
    def do_GET(self):
        if self.path.startswith("/stream"):
            self.send_response(200); self.send_header("Content-Type", "text/event-stream"); self.end_headers()
            for n in range(5):
                self.wfile.write(b"data: %d\n\n" % n); self.wfile.flush(); time.sleep(0.3)
            self.close_connection = True
        elif self.path.startswith("/told"):
            self.send_response(200); self.send_header("Content-Type", "text/event-stream"); self.end_headers()
            for n in range(5):
                self.wfile.write(b"data: %d\n\n" % n); self.wfile.flush(); turns.acquire(timeout=60)
            self.close_connection = True
        elif self.path.startswith("/endless"):
            self.send_response(200); self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 65536); self.wfile.flush(); time.sleep(0.01)
            except OSError:
                print("CALLER LEFT", flush=True)
            self.close_connection = True
        elif self.path.startswith("/big"):
            self.send_response(200); self.send_header("Content-Length", str(5_000_000)); self.end_headers()
            self.wfile.write(b"y" * 5_000_000)
        else:
            self.answer({"method": self.command, "path": self.path, "headers": dict(self.headers)})
    def answer(self, what):
        body = json.dumps(what).encode()
        self.send_response(201 if self.command == "POST" else 200)
        self.send_header("Content-Length", str(len(body))); self.send_header("Set-Cookie", "sessionid=stolen")
        self.send_header("Content-Type", "text/html"); self.end_headers(); self.wfile.write(body)

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    def get_request(self): return super().get_request()[0], ("relay", 0)

Server(os.environ["GAAS_SERVE_SOCKET"], Handler).serve_forever()
"""


def serving(house: House, name: str) -> tuple[Person, str]:
    """Have a task serve; gives its owner and id."""
    person = newcomer(house.url, name)
    body = {"title": "Serve", "spec": {"script": f"#!/usr/bin/env python3\n{SERVICE}", "serve": True}, "hours": "1"}
    task = person.call("POST", "tasks/", expect=201, json=body)
    house.admin().approve(task["id"])
    return person, task["id"]


def caller(url: str, person: Person) -> httpx.Client:
    headers = {"Authorization": person.http.headers["Authorization"]}
    return httpx.Client(base_url=url, headers=headers, timeout=PATIENCE_SECONDS, trust_env=False)


def answers(client: httpx.Client, path: str) -> Any:
    def look() -> Any:
        answer = client.get(f"{path}/hello?x=1")
        return answer if answer.status_code == 200 else None

    return eventually(PATIENCE_SECONDS, "the service answers", look, each=0.3)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("serving"), {}) as house:
        yield house  # the program outlives the platform, and is ended with the house


@pytest.fixture(scope="module")
def service(up: Up) -> tuple[httpx.Client, str]:
    person, id_ = serving(up, "serving-alice")
    client = caller(up.url, person)
    answers(client, f"/api/v1/tasks/{id_}/service")
    return client, f"/api/v1/tasks/{id_}/service"


class TestService:
    def test_it_passes_on_what_belongs_to_the_program(self, service: tuple[httpx.Client, str]) -> None:
        client, path = service
        answer = client.get(
            f"{path}/a%20b/c?q=1&q=2", headers={"Cookie": "sessionid=x", "X-Mine": "1", "TE": "trailers"}
        )
        said = answer.json()
        assert (said["method"], said["path"]) == ("GET", "/a%20b/c?q=1&q=2")
        names = {name.lower() for name in said["headers"]}
        assert "x-mine" in names
        assert names.isdisjoint({"authorization", "cookie", "te", "x-gaas-hop", "x-forwarded-for"})
        assert "set-cookie" not in answer.headers
        assert answer.headers["content-security-policy"] == "sandbox"
        assert answer.headers["x-content-type-options"] == "nosniff"

    def test_bodies_go_both_ways(self, service: tuple[httpx.Client, str]) -> None:
        client, path = service
        assert client.post(f"{path}/in", content=b"z" * 3_000_000).json()["size"] == 3_000_000
        parts = (b"part" * 10_000 for _ in range(10))
        assert client.post(f"{path}/in", content=parts).json()["size"] == 400_000
        assert len(client.get(f"{path}/big").content) == 5_000_000

    def test_it_streams(self, service: tuple[httpx.Client, str]) -> None:
        client, path = service
        parts = []
        with client.stream("GET", f"{path}/told") as answer:
            for part in answer.iter_raw():
                parts.append(part)
                client.post(f"{path}/turn")  # before which the next is not written
        assert parts == [b"data: %d\n\n" % n for n in range(5)]

    def test_many_at_once(self, service: tuple[httpx.Client, str]) -> None:
        client, path = service

        def hear(number: int) -> tuple[float, float]:
            with client.stream("GET", f"{path}/stream/{number}") as answer:
                parts = answer.iter_raw()
                text, first = next(parts), time.monotonic()
                assert (text + b"".join(parts)).endswith(b"data: 4\n\n")
            return first, time.monotonic()

        with ThreadPoolExecutor(20) as pool:
            heard = list(pool.map(hear, range(20)))
        # One after another they would not overlap.
        assert max(sum(first <= moment < last for first, last in heard) for moment, _ in heard) >= 4

    def test_who_leaves_ends_it_at_the_program(self, up: Up, service: tuple[httpx.Client, str]) -> None:
        client, path = service
        with client.stream("GET", f"{path}/endless") as answer:
            next(answer.iter_raw())
        task = path.removesuffix("/service")
        eventually(
            PATIENCE_SECONDS, "the program notices", lambda: "CALLER LEFT" in client.get(f"{task}/logs/").text, each=0.3
        )

    def test_a_reader_that_stands_still_holds_up_nobody(self, service: tuple[httpx.Client, str]) -> None:
        client, path = service
        with client.stream("GET", f"{path}/endless"):
            assert client.get(f"{path}/hello").status_code == 200

    def test_others_get_nowhere(self, up: Up, service: tuple[httpx.Client, str]) -> None:
        client, path = service
        outsider = caller(up.url, newcomer(up.url, "serving-charlie"))
        assert outsider.get(f"{path}/hello").status_code == 404
        assert httpx.get(f"{up.url}{path}/hello", trust_env=False).status_code == 401
        assert httpx.get(f"{up.url}{path}/hello", cookies={"sessionid": "x"}, trust_env=False).status_code == 401
        assert client.post(f"{path}/x", content=b"z" * (33 * 1024 * 1024)).status_code == 413


class TestTwoProcesses:
    def test_one_hop_leads_to_the_process_that_holds_it(self, tmp_path: Path) -> None:
        try:
            with contextlib.ExitStack() as stack:
                server, broker = (stack.enter_context(lend) for lend in (peers.postgresql(), peers.redis(own=True)))
                house = Separate(tmp_path, {"BROKER_URL": broker.url}, server=server.url)
                with house:
                    second = free_port()
                    command = [sys.executable, "manage.py", "live", "--port", str(second)]
                    house._commands["live-2"] = (command, {})
                    house.start("live-2")
                    house.await_answers(f"http://127.0.0.1:{second}", "live-2")
                    person, id_ = serving(house, "hop-alice")
                    path = f"/api/v1/tasks/{id_}/service"
                    direct, hopped = caller(house.live_url, person), caller(f"http://127.0.0.1:{second}", person)
                    answers(direct, path)
                    said = answers(hopped, path).json()
                    assert "x-gaas-hop" not in {name.lower() for name in said["headers"]}
                    assert hopped.post(f"{path}/in", content=b"z" * 1_000_000).json()["size"] == 1_000_000
                    assert hopped.get(f"{path}/stream").text.count("data:") == 5
                    forged = f"http://127.0.0.1:{urlsplit(house.live_url).port}/api/live/v1/relay/{id_}/hello"
                    assert hopped.get(forged).status_code == 401
                    self._stream_across(house, person, second)
        except peers.Missing as why:
            not_run(str(why))

    def _stream_across(self, house: Separate, person: Person, second: int) -> None:
        """A log that agents send to one process is heard in the other, by NOTIFY."""
        script = "for n in 1 2 3 4 5 6; do echo line $n; sleep 0.3; done; sleep 3600"
        task = person.submit(script, title="Across", hours="0.5")
        url = person.call("GET", f"tasks/{task['id']}/logs/stream/")["url"]
        parts = urlsplit(url)
        seen: list[str] = []

        def watch() -> None:
            with httpx.stream(
                "GET", f"http://127.0.0.1:{second}{parts.path}?{parts.query}", timeout=PATIENCE_SECONDS
            ) as answer:
                kind = ""
                for line in answer.iter_lines():
                    kind = line.removeprefix("event: ") if line.startswith("event: ") else kind
                    if line.startswith("data: ") and kind == "log":
                        seen.append(json.loads(line[6:])["text"])

        watching = threading.Thread(target=watch)
        watching.start()
        house.admin().approve(task["id"])
        # It comes while the program lives, not at the end.
        eventually(PATIENCE_SECONDS, "the last line", lambda: "line 6\n" in "".join(seen))
        assert person.task(task["id"])["status"] not in TERMINAL
        person.call("POST", f"tasks/{task['id']}/cancel/", json={})
        watching.join(PATIENCE_SECONDS)
        assert not watching.is_alive()
        assert "".join(seen) == "".join(f"line {n}\n" for n in range(1, 7))
