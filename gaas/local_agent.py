"""The agent beside `up`: a process of its own that ends with the server and comes back after a crash."""

from __future__ import annotations

import ctypes
import ipaddress
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from django.db import DatabaseError

from gpus.agent.executors import bubblewrap

log = logging.getLogger("app")

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 10
LONGEST_PAUSE = 30.0


class NoSandbox(Exception):
    """State that programs of strangers would run on this machine without a sandbox."""


def sandbox_missing(host: str, base_url: str) -> str | None:
    """Say why programs would run unsandboxed; None when bubblewrap works.

    Raises NoSandbox, naming the package to install, where others can reach the server: by the address that it
    listens on, or by the one that people type, which a proxy leads here.
    """
    why = bubblewrap.unusable("bwrap")
    public = next((name for name in (host, urlsplit(base_url).hostname or "") if not is_loopback(name)), None)
    if why is not None and public is not None:
        raise NoSandbox(
            f"There is no usable sandbox ({why}) and {public} can be reached from other machines. "
            "Install the package bubblewrap, or give --no-agent."
        )
    return why


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _end_with_parent() -> None:
    # SIGTERM when the server dies, however it dies. Programs stay with their supervisors and are found again.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class LocalAgent(threading.Thread):
    """Keep one agent running. The kernel ends it with the thread that started it, so this thread stays.

    `join_token` makes a fresh token; it is asked for whenever an agent starts that has not joined yet, since one
    that was killed while joining has used its token up.
    """

    def __init__(
        self,
        *,
        server: str,
        state: Path,
        join_token: Callable[[], str],
        simulated_gpus: int,
        unsandboxed: bool,
    ) -> None:
        super().__init__(name="local-agent", daemon=True)
        self._state = state
        self._join_token = join_token
        self._command = [sys.executable, "-m", "gpus.agent", "run", "--server", server, "--state", str(state)]
        if simulated_gpus:
            self._command += ["--simulated-gpus", str(simulated_gpus)]
        if unsandboxed:
            self._command.append("--unsandboxed")
        if record := os.environ.get("GAAS_START_RECORD"):
            self._command += ["--start-record", record]
        self._closing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        pause = 0.5
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                token = "" if (self._state / "credential.json").is_file() else self._join_token()
            except DatabaseError:
                log.exception("no join token for the local agent; it is tried again in %.1f s", pause)
                self._closing.wait(pause)
                continue
            self._process = subprocess.Popen(
                self._command,
                env={
                    "PATH": os.environ.get("PATH", os.defpath),
                    "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
                    "GAAS_JOIN_TOKEN": token,
                },
                preexec_fn=_end_with_parent,
            )
            code = self._process.wait()
            if self._closing.is_set():
                return
            pause = 0.5 if time.monotonic() - began > 60 else min(pause * 2, LONGEST_PAUSE)
            log.warning("the local agent ended with %s; it starts again in %.1f s", code, pause)
            self._closing.wait(pause)

    def stop(self) -> None:
        """End the agent; what it runs goes on under its supervisors until the next start."""
        self._closing.set()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
