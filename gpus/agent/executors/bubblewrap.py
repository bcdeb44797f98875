"""The sandbox: which parts of the machine a program sees, and nothing of the agent's."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

# Inside, the attempt's folders always have these names, whatever the state directory is called.
BOX = "/task"
USER_ID = 1000

PASSWD = f"root:x:0:0:root:/:/usr/sbin/nologin\ntask:x:{USER_ID}:{USER_ID}:task:{BOX}/work:/bin/sh\n"
GROUP = f"root:x:0:\ntask:x:{USER_ID}:\n"
HOSTS = "127.0.0.1 localhost task\n::1 localhost\n"
NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"

SYSTEM = ("/usr",)
LINKED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "mime.types")
# Certificates one by one: their folders hold private keys too, which an agent that runs as root could read.
ETC_NETWORK = (
    "resolv.conf",
    "services",
    "protocols",
    "ssl/certs",
    "ssl/openssl.cnf",
    "ca-certificates",
    "pki/ca-trust/extracted",
    "pki/tls/certs",
    "pki/tls/cert.pem",
    "crypto-policies",
)


@functools.cache
def _options(bubblewrap: str) -> frozenset[str]:
    shown = subprocess.run([bubblewrap, "--help"], capture_output=True, text=True, timeout=10, check=False)
    return frozenset(word for word in (shown.stdout + shown.stderr).split() if word.startswith("--"))


def _system() -> list[str]:
    arguments: list[str] = []
    for path in SYSTEM:
        arguments += ["--ro-bind", path, path]
    for path in LINKED:
        if os.path.islink(path):
            arguments += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            arguments += ["--ro-bind", path, path]
    return arguments


def _isolation(bubblewrap: str, *, network: bool) -> list[str]:
    arguments = ["--unshare-all", "--unshare-user", "--uid", str(USER_ID), "--gid", str(USER_ID)]
    arguments += ["--hostname", "task", "--cap-drop", "ALL", "--die-with-parent", "--new-session"]
    if network:
        arguments.append("--share-net")
    if "--disable-userns" in _options(bubblewrap):
        arguments.append("--disable-userns")
    return arguments


def python_binds() -> list[str]:
    """Name the folder of this Python where it lies outside the system's, so that tasks have one too."""
    prefix = os.path.realpath(sys.base_prefix)
    return [] if prefix == "/" or Path(prefix).is_relative_to("/usr") else [prefix]


def unusable(bubblewrap: str) -> str | None:
    """Say why there is no usable sandbox; None when there is one. Runs `true` in it."""
    if shutil.which(bubblewrap) is None:
        return f"{bubblewrap} is not installed"
    try:
        command = [bubblewrap, *_isolation(bubblewrap, network=False), *_system()]
        command += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--", "/usr/bin/true"]  # noqa: S108
        ran = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, env={"PATH": os.defpath})
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return None if ran.returncode == 0 else (ran.stderr.strip() or f"it ended with {ran.returncode}")


def arguments(
    bubblewrap: str,
    box: Path,
    *,
    network: bool,
    ro_binds: list[str],
    device_nodes: list[str],
    tmp_mib: int,
    data: dict[str, int],
    status_fd: int,
) -> list[str]:
    """List bubblewrap's arguments up to the command.

    `data` maps a path inside to a descriptor that holds the file's text. They are given to bubblewrap
    through a descriptor too: its command line can be read from inside.
    """
    wanted = _isolation(bubblewrap, network=network) + _system()
    wanted += ["--json-status-fd", str(status_fd)]
    wanted += ["--proc", "/proc", "--dev", "/dev"]
    for node in device_nodes:
        wanted += ["--dev-bind", node, node]
    for path in ("/tmp", "/dev/shm"):  # noqa: S108
        if "--size" in _options(bubblewrap):
            wanted += ["--size", str(tmp_mib * 1024 * 1024)]
        wanted += ["--tmpfs", path]
    wanted += ["--dir", "/run", "--dir", "/etc", "--dir", "/var", "--symlink", "../tmp", "/var/tmp"]  # noqa: S108
    for name in ETC + (ETC_NETWORK if network else ()):
        wanted += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for path, fd in data.items():
        wanted += ["--ro-bind-data", str(fd), path]
    for path in ro_binds:
        wanted += ["--ro-bind-try", path, path]
    for name in ("work", "output", "checkpoint", "serve"):
        wanted += ["--bind", str(box / name), f"{BOX}/{name}"]
    wanted += ["--ro-bind", str(box / "input"), f"{BOX}/input"]
    # Both are memory too, without a limit of their own.
    return [*wanted, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", f"{BOX}/work"]
