"""The image is built from the Dockerfile and run: it serves, says that it is healthy and stops when told to."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest

from tests.peers import free_port
from tests.systems.engine import Engine, await_health, health

KILLED = "137"  # what an engine does when nobody stops by itself


@pytest.fixture(scope="module")
def server(engine: Engine, image: str) -> Iterator[str]:
    """A container of the image on the host's network, as `docker run` of the README starts it but for the port."""
    port = free_port()
    container = f"{image}-up"
    engine.docker("run", "--detach", "--name", container, "--network", "host", "--env", f"PORT={port}", image)
    try:
        await_health(engine, container)
        yield f"http://127.0.0.1:{port}"
        print(engine.docker("logs", container, check=False).stdout[-2000:])
    finally:
        engine.docker("rm", "--force", "--volumes", container, check=False)


class TestImage:
    def test_it_says_that_it_is_healthy(self, engine: Engine, image: str, server: str) -> None:
        logs = engine.docker("logs", f"{image}-up", check=False)
        assert health(engine, f"{image}-up") == "healthy", logs.stdout[-3000:] + logs.stderr[-3000:]

    @pytest.mark.parametrize("path", ["/livez", "/readyz", "/", "/admin/login/", "/api/schema/"])
    def test_it_serves(self, server: str, path: str) -> None:
        with urllib.request.urlopen(server + path, timeout=60) as answer:
            assert answer.status == 200

    def test_it_serves_the_files_that_the_build_collected(self, server: str) -> None:
        with urllib.request.urlopen(f"{server}/static/unfold/css/styles.css", timeout=60) as answer:
            assert answer.headers["Content-Type"].startswith("text/css")

    def test_it_does_not_run_as_root(self, engine: Engine, image: str, server: str) -> None:
        assert engine.docker("exec", f"{image}-up", "id", "-un").stdout.strip() == "gaas"

    def test_it_carries_nothing_that_it_does_not_need(self, engine: Engine, image: str, server: str) -> None:
        looked_for = [".env", ".git", "tests", "var", "gaas/tests", "manage.py"]
        found = engine.docker("exec", f"{image}-up", "ls", "-d", *looked_for, check=False)
        assert found.stdout.split() == ["manage.py"]

    def test_it_stops_when_told_to(self, engine: Engine, image: str, server: str) -> None:
        engine.docker("stop", "--time", "60", f"{image}-up")
        ended = engine.docker("inspect", "--format", "{{.State.ExitCode}}", f"{image}-up").stdout.strip()
        assert ended != KILLED
