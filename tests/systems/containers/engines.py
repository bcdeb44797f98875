"""Docker and Podman for the tests of the container executor: each on a socket of its own, in a temporary folder."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpus.agent.executors.engine import Engine, EngineError
from tests.peers import Missing, running
from tests.systems.engine import docker_engine
from tests.systems.registry import BUSYBOX, Registry, box_layer

IMAGE = "gaas-box:latest"
SMI_IMAGE = "gaas-box-gpu:latest"
SERVE_IMAGE = "gaas-box-serve:latest"
SMI_UUID = "GPU-5e0a1cbb-0000-4000-8000-00000000cafe"


@contextmanager
def podman_socket(*served: Registry) -> Iterator[str]:
    if os.geteuid() != 0 or not shutil.which("podman"):
        raise Missing("Podman's service needs root and podman")
    with _folder("gaas-podman-") as folder:
        registries = folder / "registries.conf"
        registries.write_text(
            "".join(f'[[registry]]\nlocation = "127.0.0.1:{r.port}"\ninsecure = true\n' for r in served)
        )
        # In a mount namespace of its own: what it mounts is gone with it, and the folder can be removed.
        podman = ["unshare", "--mount", "podman", "--runroot", f"{folder}/run"]
        environment = {**os.environ, "CONTAINERS_REGISTRIES_CONF": str(registries)}
        with _podman(podman, folder, environment, "podman") as path:
            try:
                yield path
            finally:
                for container in Engine(path).call("GET", "/containers/json", query={"all": "true"}) or []:
                    Engine(path).remove(container["Id"])


@contextmanager
def rootless_podman_socket(user: int) -> Iterator[str]:
    """Lend the service of an ordinary user's Podman. Without ranges in subuid it maps that one user alone."""
    if os.geteuid() != 0 or not shutil.which("podman") or not shutil.which("setpriv"):
        raise Missing("acting as another user needs root, podman and setpriv")
    with _folder("gaas-rootless-") as folder:
        (folder / "run").mkdir(mode=0o700)
        for path in (folder, folder / "run"):
            os.chown(path, user, user)
        podman = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups", "podman"]
        podman += ["--runroot", f"{folder}/state"]
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_RUNTIME_DIR": f"{folder}/run"}
        try:
            with _podman(podman, folder, environment, "rootless podman") as path_of_theirs:
                yield path_of_theirs
        finally:
            # It keeps the user's namespace open by a process that outlives the service.
            for pause in folder.rglob("pause.pid"):
                os.kill(int(pause.read_text()), signal.SIGKILL)


@contextmanager
def _folder(prefix: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _podman(podman: list[str], folder: Path, environment: dict[str, str], name: str) -> Iterator[str]:
    """Run a service that keeps everything in a folder; conmon leaves files where it was started, so it starts there."""
    path = f"{folder}/podman.sock"
    command = [*podman, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]
    command += ["--root", f"{folder}/data", "--tmpdir", f"{folder}/tmp"]
    command += ["system", "service", "--time", "0", f"unix://{path}"]
    with running(command, answers=lambda: _answers(path), folder=folder, env=environment, name=name):
        yield path


@contextmanager
def docker_socket(*served: Registry) -> Iterator[str]:
    with docker_engine() as engine:
        named = engine.host or os.environ.get("DOCKER_HOST", "")
        yield named.removeprefix("unix://") or "/run/docker.sock"


SOCKETS = {"docker": docker_socket, "podman": podman_socket}


def _answers(path: str) -> bool:
    try:
        Engine(path).call("GET", "/_ping", timeout=2)
    except EngineError:
        return False
    return True


def process_limit(pid: int) -> int | None:
    """Give how many processes there may be beside this one, by the cgroup that holds it, or None where none does."""
    top = Path("/sys/fs/cgroup")
    for at, _, files in os.walk(top):  # which passes over what vanishes meanwhile
        with contextlib.suppress(OSError):
            if "cgroup.procs" in files and str(pid) in Path(at, "cgroup.procs").read_text().split():
                for folder in (Path(at), *Path(at).parents):
                    limit = folder / "pids.max"
                    if folder.is_relative_to(top) and limit.exists() and limit.read_text().strip().isdecimal():
                        return int(limit.read_text())
    return None


def import_images(path: str) -> None:
    """Give the engine an image of busybox alone, and one whose `nvidia-smi` knows a GPU."""
    if not BUSYBOX.exists():
        raise Missing("there is no /bin/busybox: apt install busybox-static")
    _import(path, IMAGE, box_layer())
    _import(path, SMI_IMAGE, box_layer({"bin/nvidia-smi": f'#!/bin/sh\necho "GPU 0: Test (UUID: {SMI_UUID})"\n'}))


def import_serving_image(path: str, folder: Path) -> None:
    """Give the engine an image of a program that serves, and nothing else that could."""
    if not shutil.which("gcc"):
        raise Missing("there is no gcc to make a program that serves")
    source = Path(__file__).with_name("serve.c")
    subprocess.run(["gcc", "-O1", "-static", "-o", folder / "serve", source], check=True)
    _import(path, SERVE_IMAGE, box_layer({"bin/serve": (folder / "serve").read_bytes()}))


def _import(path: str, image: str, layer: bytes) -> None:
    connection = http.client.HTTPConnection("localhost", timeout=120)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.connect(path)
    name, _, tag = image.partition(":")
    url = f"/images/create?fromSrc=-&repo=docker.io/library/{name}&tag={tag}"
    connection.request("POST", url, layer, {"Content-Type": "application/x-tar"})
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    assert answer.status == 200, said
    errors = [json.loads(line) for line in said.splitlines() if b'"error"' in line]
    assert not errors, errors
