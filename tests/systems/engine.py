"""A Docker engine for the test of the image: the one that answers, else one of our own for as long as it is needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers import Missing, running

ROOT = Path(__file__).resolve().parents[2]
BASE = "gaas-test-base"


@dataclass(frozen=True)
class Engine:
    """An engine that answers at `host` (empty: where the client looks by itself)."""

    host: str = ""
    is_own: bool = False

    def docker(self, *arguments: str, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
        """Run the client against this engine and give what it said; raises with its last words when it fails."""
        command = ["docker", *(["--host", self.host] if self.host else []), *arguments]
        # The builder that every client has: it needs no plugin.
        environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, **options)  # type: ignore[call-overload]
        if check and done.returncode:
            raise AssertionError(f"docker {' '.join(arguments)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done  # type: ignore[no-any-return]

    def answers(self) -> bool:
        """Tell whether the engine is up."""
        return self.docker("version", "--format", "{{json .Server.Version}}", check=False).returncode == 0

    def base_image(self, requirements: str) -> tuple[str, list[str]]:
        """Give the image to build on with the arguments of the build.

        The usual one where it can be pulled. Else a bare Debian (tests/bare/base.sh) that brings its wheels along, so
        that the build needs no network at all.
        """
        usual = "python:3.11-slim-bookworm"
        if self.docker("pull", "--quiet", usual, check=False).returncode == 0:
            return usual, []
        if os.geteuid() != 0 or not shutil.which("debootstrap"):
            raise Missing(f"{usual} cannot be pulled, and making a base image needs root and debootstrap")
        if not (folder := os.environ.get("BARE_BASE", "")):
            with tempfile.TemporaryDirectory(prefix="gaas-base-") as made:
                subprocess.run([ROOT / "tests" / "bare" / "base.sh", made, requirements], check=True)
                self._import(made)
        else:
            self._import(folder)
        return BASE, ["--network", "none"]

    def _import(self, folder: str) -> None:
        changes = ["--change", "ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels"]
        with tempfile.TemporaryFile() as tar:
            subprocess.run(
                ["tar", "-C", folder, "-c", "--exclude=./proc/*", "--exclude=./dev/*", "--exclude=./sys/*", "."],
                stdout=tar,
                check=True,
            )
            tar.seek(0)
            self.docker("import", *changes, "-", BASE, stdin=tar)


@contextmanager
def docker_engine() -> Iterator[Engine]:
    """Lend an engine. One of our own keeps everything in a temporary folder, touches no firewall, makes no bridge."""
    if not shutil.which("docker"):
        raise Missing("no docker client on this machine")
    if (found := Engine()).answers():
        yield found
        return
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        raise Missing("no Docker engine answers, and starting one needs root and dockerd")
    folder = Path(tempfile.mkdtemp(prefix="gaas-docker-"))
    own = Engine(host=f"unix://{folder}/docker.sock", is_own=True)
    # In a mount namespace of its own: what it mounts is gone with it, and the folder can be removed.
    command = ["unshare", "--mount", "dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none"]
    places = {"--data-root": "data", "--exec-root": "exec", "--pidfile": "pid"}
    command += ["--host", own.host, *(f"{option}={folder / name}" for option, name in places.items())]
    try:
        with running(command, answers=own.answers, folder=folder, name="dockerd"):
            try:
                yield own
            finally:
                for line in own.docker("ps", "--all", "--quiet", check=False).stdout.split():
                    own.docker("rm", "--force", line, check=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def health(engine: Engine, container: str) -> str:
    """Give what the image's own HEALTHCHECK says of a container: starting, healthy or unhealthy."""
    state = json.loads(engine.docker("inspect", "--format", "{{json .State}}", container).stdout)
    return str(state.get("Health", {}).get("Status", state["Status"]))


def await_health(engine: Engine, container: str, seconds: float = 300) -> None:
    """Wait until a container is healthy, as long as it runs; on a busy machine it may be called unhealthy before."""
    until = time.monotonic() + seconds
    while health(engine, container) in ("starting", "unhealthy") and time.monotonic() < until:
        time.sleep(0.5)
