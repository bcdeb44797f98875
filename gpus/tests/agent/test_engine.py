"""What an engine's refusals mean."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import pytest

from gpus.agent.executors.contained import ContainedProgram
from gpus.agent.executors.engine import Engine, EngineError


@contextmanager
def an_engine(folder: Path, statuses: list[int]) -> Iterator[tuple[str, list[str]]]:
    """Answer one call after the other with these statuses, and note what was asked."""
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def address_string(self) -> str:
            return "a socket"

        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_response(statuses[len(asked) - 1])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing of each call."""

    path = str(folder / "engine.sock")
    with socketserver.ThreadingUnixStreamServer(path, Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield path, asked
        finally:
            server.shutdown()


class TestSignal:
    @pytest.mark.parametrize(("status", "is_sent"), [(204, True), (404, False), (409, False), (500, False)])
    def test_it_tells_whether_it_was_sent(self, tmp_path, status, is_sent):
        with an_engine(tmp_path, [status]) as (path, asked):
            assert Engine(path).signal("box", "SIGTERM") is is_sent
        assert len(asked) == 1

    def test_a_program_is_told_to_end_again_until_it_is_told_and_then_no_more(self, tmp_path):
        attempt = SimpleNamespace(assignment=SimpleNamespace(payload={"command": ["true"]}))
        with an_engine(tmp_path, [500, 204, 204]) as (path, asked):
            program = ContainedProgram(attempt, SimpleNamespace(engine=path, container="box"), SimpleNamespace())
            for _ in range(4):
                program.terminate()
        assert len(asked) == 2


class TestEngineError:
    @pytest.mark.parametrize(
        ("status", "says", "is_absence"),
        [
            (404, "no container with name or ID", True),
            (500, "container 45c1 does not exist in database: no such container", True),
            (500, "database is locked", False),
            (409, "removal is in progress", False),
            (0, "/run/docker.sock does not answer", False),
        ],
    )
    def test_it_tells_whether_there_is_no_such_container(self, status, says, is_absence):
        assert EngineError(status, says).is_absence is is_absence
