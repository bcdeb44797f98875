"""Programs in containers that serve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpus.agent.executors.engine import Engine
from gpus.agent.relays import connect_to
from gpus.tests.agent.host import Host
from gpus.tests.agent.peer import Work
from tests.peers import Missing
from tests.systems.conftest import not_run
from tests.systems.containers.engines import SERVE_IMAGE, import_serving_image
from tests.systems.containers.hosts import containers_of, end_of, offer, said, until_said


class TestServe:
    """A program in an image that answers on its Unix socket, without a network or a port."""

    @pytest.fixture
    def served(self, shared: Host, socket: str, tmp_path: Path) -> Iterator[Work]:
        try:
            import_serving_image(socket, tmp_path)
        except Missing as why:
            not_run(f"a program that serves: {why}")
        work = offer(shared, payload={"image": SERVE_IMAGE, "command": ["/bin/serve"], "serve": True})
        try:
            until_said(shared, work, "ready")
            yield work
        finally:
            shared.peer.cancel(work)
            end_of(shared, work)

    def test_the_agent_reaches_it(self, shared: Host, engine: Engine, served: Work) -> None:
        (container,) = containers_of(engine, served)
        assert set(container["NetworkSettings"]["Networks"] or {}) <= {"none"}
        path = shared.state / "attempts" / served.assignment.id / "box" / "serve" / "http"
        with connect_to(path) as service:
            service.sendall(b"GET /v1/models HTTP/1.1\r\nHost: task\r\n\r\n")
            answer = b""
            while part := service.recv(4096):
                answer += part
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"served by " in answer
        assert not answer.endswith(b"served by 0")

    def test_one_that_does_not_serve_has_no_such_folder(self, shared: Host) -> None:
        work = offer(shared, "ls -a /task; echo ${GAAS_SERVE_SOCKET-none}")
        end_of(shared, work)
        assert "serve" not in said(work).split()
        assert said(work).split()[-1] == "none"
