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
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpus.agent.executors.engine import Engine, EngineError
from tests.peers import Missing
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
    folder = Path(tempfile.mkdtemp(prefix="gaas-podman-"))
    registries = folder / "registries.conf"
    registries.write_text("".join(f'[[registry]]\nlocation = "127.0.0.1:{r.port}"\ninsecure = true\n' for r in served))
    command = ["unshare", "--mount", "podman", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]
    command += ["--events-backend", "file", "--root", f"{folder}/data", "--runroot", f"{folder}/run", "--tmpdir"]
    command += [f"{folder}/tmp", "system", "service", "--time", "0", f"unix://{folder}/podman.sock"]
    with (folder / "log").open("wb") as log:
        service = subprocess.Popen(
            command,
            cwd=folder,  # conmon leaves files where it was started
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "CONTAINERS_REGISTRIES_CONF": str(registries)},
        )
    path = f"{folder}/podman.sock"
    try:
        deadline = time.monotonic() + 30
        while not _answers(path):
            if service.poll() is not None or time.monotonic() > deadline:
                last = (folder / "log").read_text(errors="replace").strip().splitlines()[-1:]
                raise Missing(f"podman did not start: {' '.join(last)}")
            time.sleep(0.1)
        yield path
    finally:
        if service.poll() is None:
            for container in Engine(path).call("GET", "/containers/json", query={"all": "true"}) or []:
                Engine(path).remove(container["Id"])
            service.send_signal(signal.SIGTERM)
            try:
                service.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(service.pid, signal.SIGKILL)
                service.wait()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def rootless_podman_socket(user: int) -> Iterator[str]:
    """Lend the service of an ordinary user's Podman. Without ranges in subuid it maps that one user alone."""
    if os.geteuid() != 0 or not shutil.which("podman") or not shutil.which("setpriv"):
        raise Missing("acting as another user needs root, podman and setpriv")
    folder = Path(tempfile.mkdtemp(prefix="gaas-rootless-"))
    (folder / "run").mkdir(mode=0o700)
    for path in (folder, folder / "run"):
        os.chown(path, user, user)
    command = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups", "podman"]
    command += ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file", "--root"]
    command += [f"{folder}/data", "--runroot", f"{folder}/state", "--tmpdir", f"{folder}/tmp"]
    command += ["system", "service", "--time", "0", f"unix://{folder}/podman.sock"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_RUNTIME_DIR": f"{folder}/run"}
    with (folder / "log").open("wb") as log:
        service = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment,
        )
    path = f"{folder}/podman.sock"
    try:
        deadline = time.monotonic() + 60
        while not _answers(path):
            if service.poll() is not None or time.monotonic() > deadline:
                last = (folder / "log").read_text(errors="replace").strip().splitlines()[-1:]
                raise Missing(f"rootless podman did not start: {' '.join(last)}")
            time.sleep(0.1)
        yield path
    finally:
        if service.poll() is None:
            os.killpg(service.pid, signal.SIGTERM)
            try:
                service.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(service.pid, signal.SIGKILL)
                service.wait()
        shutil.rmtree(folder, ignore_errors=True)


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
    for listed in top.rglob("cgroup.procs"):
        with contextlib.suppress(OSError):
            if str(pid) in listed.read_text().split():
                for folder in (listed.parent, *listed.parent.parents):
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
