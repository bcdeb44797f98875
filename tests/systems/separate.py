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
from tests.systems.relay import Relay


class Separate(House):
    """web, live, worker, beat and agents as processes of their own, in a database made for them and dropped at the end.

    `server` is any database of the PostgreSQL to use. Agents call web for all but their waits, which are live's.
    `address` is where servers listen; `reached_by` names what stands before an agent's command, as to run it in a
    network of its own; `config` is added to each agent's. With `has_fronts` each agent calls a front of its own, that
    knows web and live and can be cut: `house.fronts[agent]`.
    """

    fronts: dict[str, Relay]

    servers, workers = ("web", "live"), ("worker", "beat")

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
        has_fronts: bool = False,
    ) -> None:
        self._server, self._database = server, f"gaas_house_{secrets.token_hex(4)}"
        live = free_port()
        ours = {
            "DATABASE_URL": urlsplit(server)._replace(path=f"/{self._database}").geturl(),
            # Behind a front both are one origin.
            "LIVE_URL": "" if has_fronts else f"http://{address}:{live}",
        }
        super().__init__(folder, {**ours, **environment}, address=address)
        self._reached_by, self._config = reached_by, config
        self.live_url, self.gpus = f"http://{address}:{live}", gpus
        self.agents = tuple(f"agent-{number}" for number in range(1, agents + 1))
        self.fronts = {
            name: Relay(self.port, prefix=b"GET /api/agent/v1/wait", elsewhere=live)
            for name in self.agents
            if has_fronts
        }
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
        hosts = {name: self._open_host(admin, name) for name in self.agents}
        for name, host in hosts.items():
            self._offer_gpus(admin, name, host)
        self.await_gpus(admin, self.gpus * len(self.agents))

    def end(self) -> list[str]:
        stayed = super().end()
        for front in self.fronts.values():
            front.end()
        self._sql("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        return stayed

    def host_of(self, attempt: str) -> str | None:
        """Name the host on which an attempt's supervisor lives."""
        lines = [line for _, line in self.programs() if attempt and line.endswith(f"/attempts/{attempt}")]
        return next((Path(line.split()[-1]).parts[-3] for line in lines), None)

    def _open_host(self, admin: Person, name: str) -> str:
        """Add a host and start its agent; gives the host's id."""
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
            f"http://127.0.0.1:{self.fronts[name].port}" if name in self.fronts else self.url,
        ]
        command += ["--state", str(state), "--simulated-gpus", str(self.gpus), "--start-record", str(self.start_record)]
        if bubblewrap.unusable("bwrap") is not None:
            command.append("--unsandboxed")
        self._commands[name] = (command, {"GAAS_JOIN_TOKEN": host["join_token"]})
        self.start(name)
        return str(host["id"])

    def _offer_gpus(self, admin: Person, name: str, host: str) -> None:
        """Offer the GPUs of a host to everybody, once it has told them."""

        def mine() -> list[dict[str, Any]]:
            return [gpu for gpu in admin.pages("gpus/") if gpu["host"] == host]

        for gpu in eventually(START_SECONDS, f"{name} reports its GPUs", mine):
            admin.call("PATCH", f"gpus/{gpu['id']}/", json={"visibility": "PUBLIC", "accepts_quota": True})
            admin.call("POST", f"gpus/{gpu['id']}/list/", json={})

    def _sql(self, statement: str) -> None:
        with psycopg.connect(urlsplit(self._server)._replace(path="/postgres").geturl(), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(self._database)))
