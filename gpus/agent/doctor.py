"""Look at everything a host needs, and name for each fault the command that mends it."""

from __future__ import annotations

import datetime
import email.utils
import os
import shutil
import ssl
import sys
from collections.abc import Iterator
from typing import Any

import httpx

from . import clock, devices, executors, facts
from .client import Client, Refused, Unreachable
from .config import Config
from .executors import Finding
from .protocol import PROTOCOL, JoinRequest
from .state import State

LOW_DISK_GIB = 5
MIN_FREE_FILES = 10_000
MAX_SKEW_SECONDS = 30


def _machine(_: Config) -> Iterator[Finding]:
    is_linux = sys.platform == "linux"
    yield Finding("system", is_linux, sys.platform, "" if is_linux else "run the agent on Linux")
    is_new = sys.version_info >= (3, 11)
    yield Finding("python", is_new, sys.version.split()[0], "" if is_new else "apt install python3.11")


def _state(config: Config) -> Iterator[Finding]:
    path = config.state_path
    try:
        state = State(path)
    except OSError as error:
        mend = f"install -d -m 700 -o {os.geteuid()} {path}"
        yield Finding("state", False, f"{path}: {error.strerror}", mend)
        return
    free = shutil.disk_usage(path).free >> 30
    yield Finding("state", True, f"{path}, {'an agent runs' if state.is_locked() else 'no agent runs'}")
    files = os.statvfs(path)
    if files.f_files and files.f_ffree < MIN_FREE_FILES:
        yield Finding("disk", False, f"{files.f_ffree} more files fit on it", f"df -i {path}")
    mend = "" if free >= LOW_DISK_GIB else f"free some space, or choose another disk with --state (now {path})"
    yield Finding("disk", free >= LOW_DISK_GIB, f"{free} GiB free", mend)
    credential = state.credential()
    if credential is None:
        mend = "python -m gpus.agent join --server URL --token-file FILE"
        yield Finding("credential", False, "this host has not joined a server", mend)
    else:
        yield Finding("credential", True, f"host {credential.host_id} of {credential.server}")


def _server(config: Config) -> Iterator[Finding]:
    credential = State(config.state_path).credential() if config.state_path.is_dir() else None
    server = config.server or (credential.server if credential else "")
    if not server:
        yield Finding("server", False, "no server is named", "give --server URL")
        return
    server = server.rstrip("/")
    try:
        verify: Any = ssl.create_default_context(cafile=config.ca_file) if config.ca_file else True
        answer = httpx.get(f"{server}/livez", timeout=5, verify=verify)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        yield _unreachable(server, error, config)
        return
    mend = "" if answer.is_success else f"curl -v {server}/livez"
    yield Finding("server", answer.is_success, f"{server} answers {answer.status_code}", mend)
    if (sent := answer.headers.get("Date")) and (theirs := email.utils.parsedate_to_datetime(sent)):
        skew = abs((datetime.datetime.now(datetime.UTC) - theirs).total_seconds())
        is_right = skew <= MAX_SKEW_SECONDS
        yield Finding(
            "clock", is_right, f"{skew:.0f} s from the server's", "" if is_right else "timedatectl set-ntp true"
        )
    if answer.is_success:
        yield from _understanding(Client(server, credential.secret if credential else "", ca_file=config.ca_file))


def _unreachable(server: str, error: Exception, config: Config) -> Finding:
    if isinstance(error, ssl.SSLError) or "CERTIFICATE_VERIFY_FAILED" in str(error) or "SSL" in str(error):
        host = httpx.URL(server).host
        mend = f"openssl s_client -connect {host}:443 -showcerts; give its authority with --ca-file FILE"
        if config.ca_file:
            mend = f"replace {config.ca_file}: it does not vouch for {host}"
        return Finding("tls", False, f"{server}: {error}", mend)
    return Finding("server", False, f"{server}: {error}", f"curl -v {server}/livez")


def _understanding(client: Client) -> Iterator[Finding]:
    """Ask in a way that changes nothing: a join by no token, and a sync that says nothing."""
    try:
        client.join(JoinRequest(PROTOCOL, "doctor", facts.host_facts(is_sandboxed=False, executors=[])))
    except Refused as refused:
        is_old = refused.code.startswith("protocol")
        yield Finding(
            "protocol",
            not is_old,
            refused.detail if is_old else f"version {PROTOCOL} is understood",
            "install the agent of the server's version" if is_old else "",
        )
    except Unreachable as error:
        yield Finding("protocol", False, str(error), f"curl -v {client.server}")
        return
    if not client.has_secret:
        return
    try:
        client.probe()
    except Refused as refused:
        is_known = refused.status != 401
        join = "python -m gpus.agent join --force --token-file FILE, with a new join token"
        again = "add this machine as a new host" if refused.code == "host_revoked" else join
        yield Finding("secret", is_known, "taken" if is_known else refused.detail, "" if is_known else again)
    except Unreachable as error:
        yield Finding("secret", False, str(error), f"curl -v {client.server}")


def _executors(config: Config) -> Iterator[Finding]:
    for name in ["slurm"] if config.slurm is not None else executors.names():
        yield from executors.executor_class(name).examine(config)


def _gpus(config: Config) -> Iterator[Finding]:
    if config.slurm is not None:
        return  # they are in the nodes
    found = devices.find([], session="")
    if found.problem:
        declared = len(config.simulated_gpus)
        if declared and not found.gpus:
            yield Finding("gpus", True, f"{found.problem}; {declared} simulated by configuration")
            return
        yield Finding("gpus", False, found.problem, found.mend)
        if not found.gpus:
            return
    names = ", ".join(f"{gpu.model} {gpu.vram_mib // 1024} GiB" for gpu in found.gpus)
    yield Finding("gpus", bool(found.gpus), names or "none", "" if found.gpus else "nvidia-smi")
    for uuid, node in found.nodes.items():
        if not os.access(node, os.R_OK | os.W_OK):
            yield Finding("device", False, f"{node} of {uuid} cannot be opened", "nvidia-modprobe -u -c 0")


def examine(config: Config) -> Iterator[Finding]:
    """Look at one thing after the other, the machine first and the GPUs last."""
    for look in (_machine, _state, _server, _executors, _gpus):
        yield from look(config)
    yield Finding("boot", True, f"{clock.boot_id()}, up {clock.boottime() / 3600:.1f} h")
