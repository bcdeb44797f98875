"""The roles of docker-compose.yml start from the image by the very commands written there, on PostgreSQL and Redis.

The containers share this machine's network, since an engine of our own has no bridge: only the ports differ.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest
import yaml

from tests.peers import Peer, free_port
from tests.systems.engine import ROOT, Engine, await_health, health

SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
ROLES = ("web", "live", "worker", "beat")


@pytest.fixture
def start(engine: Engine, image: str, own_postgresql: Peer, own_redis: Peer) -> Iterator[Callable[[str, int], str]]:
    """Start a role of docker-compose.yml on a port; gives the name of its container."""
    settings = {
        "DATABASE_URL": own_postgresql.url,
        "BROKER_URL": own_redis.url,
        "CACHE_URL": own_redis.url.removesuffix("0") + "1",
        "SECRET_KEY": "tests-only-key-of-more-than-fifty-characters-0123456789abcdef",
    }
    names: list[str] = []

    def run(role: str, port: int) -> str:
        name = f"{image}-{role}"
        names.append(name)
        given = [part for key, value in {**settings, "PORT": str(port)}.items() for part in ("--env", f"{key}={value}")]
        command = SERVICES[role]["command"].replace("--port 8000", f"--port {port}").split()
        engine.docker("run", "--detach", "--init", "--name", name, "--network", "host", *given, image, *command)
        return name

    # The database is made by the psycopg that the image brings.
    code = "import psycopg, sys; psycopg.connect(sys.argv[1], autocommit=True).execute('CREATE DATABASE gaas')"
    server = own_postgresql.url.removesuffix("gaas") + "postgres"
    engine.docker("run", "--rm", "--network", "host", image, "python", "-c", code, server)
    yield run
    for name in names:
        engine.docker("rm", "--force", "--volumes", name, check=False)


def _state(engine: Engine, container: str) -> dict[str, object]:
    return json.loads(engine.docker("inspect", "--format", "{{json .State}}", container).stdout)  # type: ignore[no-any-return]


def _logs(engine: Engine, container: str) -> str:
    told = engine.docker("logs", container, check=False)
    return (told.stdout + told.stderr)[-4000:]


class TestRoles:
    def test_they_run_side_by_side(self, engine: Engine, start: Callable[[str, int], str]) -> None:
        began = time.monotonic()
        migrate = start("migrate", 0)
        while _state(engine, migrate)["Running"] and time.monotonic() - began < 600:
            time.sleep(0.5)
        assert _state(engine, migrate)["ExitCode"] == 0, _logs(engine, migrate)

        ports = {role: free_port() for role in ROLES}
        containers = {role: start(role, ports[role]) for role in ROLES}
        for role in ("web", "live"):
            await_health(engine, containers[role])
            assert health(engine, containers[role]) == "healthy", _logs(engine, containers[role])
            for path in ("/", "/admin/login/", "/static/unfold/css/styles.css"):
                with urllib.request.urlopen(f"http://127.0.0.1:{ports[role]}{path}", timeout=60) as answer:
                    assert answer.status == 200
        time.sleep(5)
        for role, container in containers.items():
            assert _state(engine, container)["Running"], f"{role}: {_logs(engine, container)}"
            assert "Traceback" not in _logs(engine, container), f"{role}: {_logs(engine, container)}"
        with urllib.request.urlopen(f"http://127.0.0.1:{ports['web']}/readyz", timeout=60) as answer:
            assert answer.status == 200

        for role, container in containers.items():
            engine.docker("stop", "--time", "60", container)
            assert _state(engine, container)["ExitCode"] != 137, f"{role} did not stop by itself"
