from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from gaas import demo, home
from gaas.demo.walk import WalkFailed, walk

START_SECONDS = 60


class Command(BaseCommand):
    """Take a real task from submit to a charged result, then leave the server running."""

    help = "Show the main job: start the platform, run a real task through it, print its log, result and cost."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        home.add_address(parser)
        parser.add_argument("--stop", action="store_true", help="stop the server at the end")

    def handle(self, *args: Any, host: str, port: int, stop: bool, **options: Any) -> None:
        began = time.monotonic()
        folder = Path(settings.GAAS_HOME)
        self._say("Making the database and the people of the demo …")
        call_command("migrate", interactive=False, verbosity=0)
        call_command("seed_demo")
        pid, url = self._server(folder, host, port)
        try:
            walk(url, demo.log_ins(folder), self._say)
        except WalkFailed as failed:
            _end(pid)
            raise CommandError(f"{failed} The server's log: {folder / 'up.log'}") from failed
        self._say(f"That took {time.monotonic() - began:.1f} s.")
        if stop:
            _end(pid)
            self._say("The server is stopped.")
            return
        self._say(f"\nThe server is up (its log: {folder / 'up.log'}):")
        for name, path in (("Pages", "/"), ("Admin", "/admin/"), ("API", "/api/v1/tasks/"), ("API docs", "/api/docs/")):
            self._say(f"  {name:9} {url}{path}")
        self._say("Log in as:")
        for email, password in demo.log_ins(folder).items():
            self._say(f"  {email:22} {password}")
        self._say(f"Stop it with: kill {pid}")

    def _server(self, folder: Path, host: str, port: int) -> tuple[int, str]:
        """Start `up` on the port, or the next free one, unless one of this home is up already."""
        running = _running(folder)
        if running is not None:
            self._say(f"A server of this home is up already (pid {running[0]}).")
            return running
        free = next((p for p in range(port, port + 50) if _is_free(host, p)), None)
        if free is None:
            raise CommandError(f"No port from {port} to {port + 49} is free on {host}.")
        if free != port:
            self._say(f"Port {port} is taken; using {free}.")
        url = f"http://{host}:{free}"
        self._say(f"Starting the server on {url} …")
        with (folder / "up.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, str(settings.BASE_DIR / "manage.py"), "up", "--host", host, "--port", str(free)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "BASE_URL": url},
                start_new_session=True,
            )
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and process.poll() is None:
            if _answers(url) and _running(folder) is not None:
                return process.pid, url
            time.sleep(0.2)
        tail = (folder / "up.log").read_text(errors="replace")[-2000:]
        raise CommandError(f"The server did not come up:\n{tail}")

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _running(folder: Path) -> tuple[int, str] | None:
    """Give pid and address of the server that `up` wrote down, if it lives and answers."""
    try:
        pid, url = (folder / "up.pid").read_text().split()
        os.kill(int(pid), 0)
    except (OSError, ValueError):
        return None
    return (int(pid), url) if _answers(url) else None


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex((host, port)) != 0


def _end(pid: int) -> None:
    """Stop the server and wait until it is gone."""
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            # A child of this process must be reaped; another's is simply gone.
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                return
        except ChildProcessError:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
        time.sleep(0.1)
