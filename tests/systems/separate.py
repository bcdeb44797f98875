"""The platform as in production: web, live, worker, beat and agents, each a process, on PostgreSQL and a broker."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from gpus.agent.executors import bubblewrap
from tests.peers import free_port
from tests.systems.house import START_SECONDS, House
from tests.systems.people import Person, eventually


class Separate(House):
    """web, live, worker, beat and agents as processes of their own, in a database made for them and dropped at the end.

    `server` is any database of the PostgreSQL to use. Agents call web for all but their waits, which are live's.
    `address` is where servers listen; `reached_by` names what stands before an agent's command, as to run it in a
    network of its own; `config` is added to each agent's.
    """

    servers, workers = ("web", "live"), ("worker",)

    def __init__(
        self,
        folder: Path,
        environment: dict[str, str],
        *,
        server: str,
        agents: int = 1,
        gpus: int = 2,
        address: str = "127.0.0.1",
        reached_by: Callable[[str], list[str]] = lambda agent: [],
        config: str = "",
    ) -> None:
        self._server, self._database = server, f"gaas_house_{secrets.token_hex(4)}"
        live = free_port()
        ours = {
            "DATABASE_URL": urlsplit(server)._replace(path=f"/{self._database}").geturl(),
            "LIVE_URL": f"http://{address}:{live}",
        }
        super().__init__(folder, {**ours, **environment}, address=address)
        self._reached_by, self._config = reached_by, config
        self.live_url, self.gpus = ours["LIVE_URL"], gpus
        self.agents = tuple(f"agent-{number}" for number in range(1, agents + 1))
        python = sys.executable
        web = (
            f"-m granian --interface wsgi --host {address} --port {self.port} --workers 1 --blocking-threads 4 --no-ws"
        )
        self._commands = {
            "web": ([python, *web.split(), "gaas.wsgi:application"], {}),
            "live": ([python, "manage.py", "live", "--host", address, "--port", str(live)], {}),
            "worker": ([python, "manage.py", "rundramatiq", "--processes", "1", "--threads", "4"], {}),
            "beat": ([python, "manage.py", "beat"], {}),
        }

    def open(self) -> None:
        self._sql("CREATE DATABASE {}")
        self.manage("migrate", "--noinput")
        self.make_admin()
        for name in self._commands:
            self.start(name)
        self.await_answers(self.url, "web")
        self.await_answers(self.live_url, "live")
        admin = self.admin()
        for name in self.agents:
            self._open_host(admin, name)
        self.await_gpus(admin, self.gpus * len(self.agents))

    def end(self) -> list[str]:
        stayed = super().end()
        self._sql("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        return stayed

    def _open_host(self, admin: Person, name: str) -> None:
        """Add a host, start its agent, and offer its GPUs to everybody."""
        host: dict[str, Any] = admin.call("POST", "hosts/", json={"name": name})
        state, config = self.folder / name, self.folder / f"{name}.toml"
        # What the agent waits after a failure follows the scale of all other timers.
        scale = float(self.environment.get("TIMER_SCALE", "1"))
        config.write_text(f"backoff_base_seconds = {scale}\nbackoff_cap_seconds = {30 * scale}\n{self._config}")
        command = [
            *self._reached_by(name),
            sys.executable,
            "-m",
            "gpus.agent",
            "run",
            "--config",
            str(config),
            "--server",
            self.url,
        ]
        command += ["--state", str(state), "--simulated-gpus", str(self.gpus), "--start-record", str(self.start_record)]
        if bubblewrap.unusable("bwrap") is not None:
            command.append("--unsandboxed")
        self._commands[name] = (command, {"GAAS_JOIN_TOKEN": host["join_token"]})
        self.start(name)

        def mine() -> list[dict[str, Any]]:
            return [gpu for gpu in admin.pages("gpus/") if gpu["host"] == host["id"]]

        for gpu in eventually(START_SECONDS, f"{name} reports its GPUs", mine):
            admin.call("PATCH", f"gpus/{gpu['id']}/", json={"visibility": "PUBLIC", "accepts_quota": True})
            admin.call("POST", f"gpus/{gpu['id']}/list/", json={})

    def _sql(self, statement: str) -> None:
        with psycopg.connect(urlsplit(self._server)._replace(path="/postgres").geturl(), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(self._database)))
