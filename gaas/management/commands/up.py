from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from gaas import home
from gaas.embedded import Embedded
from gaas.lib import clock
from gaas.local_agent import LocalAgent, NoSandbox, sandbox_missing
from gaas.serving import serve
from gpus.agent import devices
from gpus.services import open_local_host


class Command(BaseCommand):
    """Run the whole platform as one process, and an agent for this machine beside it."""

    help = "Run the platform as one process: web, live, worker, beat, and an agent for this machine."
    requires_system_checks = []  # run by migrate below

    def add_arguments(self, parser: CommandParser) -> None:
        home.add_address(parser)
        parser.add_argument("--no-agent", action="store_true", help="offer no GPU of this machine")
        parser.add_argument(
            "--simulated-gpus",
            type=int,
            metavar="N",
            help="declare N devices that are not there (default: 1 without a GPU)",
        )

    def handle(self, *args: Any, host: str, port: int, no_agent: bool, simulated_gpus: int | None, **_: Any) -> None:
        _check_port(host, port)
        if not no_agent and sys.platform != "linux":
            self.stdout.write(self.style.WARNING("No agent here: it runs on Linux alone. Add hosts that do."))
            no_agent = True
        unsandboxed = None
        if not no_agent:
            try:
                unsandboxed = sandbox_missing(host, settings.BASE_URL)
            except NoSandbox as refusal:
                raise CommandError(str(refusal)) from refusal
        call_command("migrate", interactive=False, verbosity=0)
        pid_file = Path(settings.GAAS_HOME, "up.pid")
        pid_file.write_text(f"{os.getpid()} {settings.BASE_URL}\n")
        inside = Embedded()
        agent = None if no_agent else self._agent(host, port, simulated_gpus, unsandboxed)
        shown = settings.BASE_URL

        def started() -> None:
            inside.start()
            if agent is not None:
                agent.start()
            self.stdout.write(f"GaaS is up: {shown}  (admin {shown}/admin/, API {shown}/api/docs/). Ctrl-C ends it.")
            self.stdout.flush()

        try:
            serve(host=host, port=port, on_start=started)
        finally:
            if agent is not None:
                agent.stop()
            inside.stop()
            pid_file.unlink(missing_ok=True)
        self.stdout.write("GaaS is down. Running programs go on and are found again at the next start.")

    def _agent(self, host: str, port: int, simulated_gpus: int | None, unsandboxed: str | None) -> LocalAgent:
        if simulated_gpus is None:
            simulated_gpus = 0 if devices.find([], "probe").gpus else 1
        if unsandboxed:
            self.stdout.write(
                self.style.WARNING(
                    f"No sandbox: {unsandboxed}. Tasks can read and change what this user can; "
                    "only this machine can reach the server. `apt install bubblewrap` mends it."
                )
            )
        if simulated_gpus:
            self.stdout.write(f"{simulated_gpus} simulated GPU(s): tasks run on the CPU and say so.")
        reachable = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
        return LocalAgent(
            server=f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{port}",
            state=Path(settings.GAAS_HOME, "agent"),
            join_token=_join_token,
            simulated_gpus=simulated_gpus,
            unsandboxed=unsandboxed is not None,
        )


def _join_token() -> str:
    """Make a join token for this machine's host; called from the agent's thread, which keeps no connection."""
    try:
        return open_local_host(now=clock.now())[1]
    finally:
        connection.close()


def _check_port(host: str, port: int) -> None:
    """Say at once that an address is taken, before anything is started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            raise CommandError(f"Cannot listen on {host}:{port}: {problem.strerror}. Give another --port.") from problem
