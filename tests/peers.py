"""Find or start the services that tests run against, and leave nothing running.

`with postgresql() as peer:` gives a `Peer` with a URL. It is the service named in the environment
(TEST_DATABASE_URL, TEST_REDIS_URL, TEST_RABBITMQ_URL), else one that answers on its usual loopback port without a
password of ours to know, else one started from the binaries of this machine in a temporary folder, on a free port, and
ended and removed afterwards. `own=True` always starts one: for tests that flush, kill or reconfigure it. `Missing` says
why there is none.

    python tests/peers.py postgresql redis -- COMMAND ...

runs COMMAND with these variables set (and DATABASE_URL, where PostgreSQL is asked for). Without a peer it says so in
one line and succeeds, except where CI=true: there a missing peer is a failure.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TypedDict
from urllib.parse import urlsplit

START_SECONDS = 120
STOP_SECONDS = 60
# Below where Linux begins to give ports away (net.ipv4.ip_local_port_range).
SERVICE_PORTS = range(12_000, 32_000)


class Missing(Exception):
    """There is no such service here, and none can be started."""


@dataclass(frozen=True)
class Peer:
    """A service that answers: its URL, whether these tests started it, and the process to kill if they did."""

    name: str
    url: str
    is_own: bool = False
    pid: int | None = None

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0


# --- Does one answer? Each speaks just enough of the protocol to know that it may be used. ----------------------------


def _talk(port: int, *messages: bytes, timeout: float = 2) -> list[bytes]:
    """Send each message and collect the first bytes of each answer; nothing where the port is closed or silent."""
    answers: list[bytes] = []
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout) as wire:
            for message in messages:
                wire.sendall(message)
                answers.append(wire.recv(4096))
    except OSError:
        pass
    return answers


def postgresql_answers(port: int) -> bool:
    """Tell whether user postgres is let in without a password."""
    body = struct.pack("!i", 196608) + b"user\0postgres\0database\0postgres\0\0"
    answers = _talk(port, struct.pack("!i", len(body) + 4) + body)
    return bool(answers) and answers[0][:9] == b"R" + struct.pack("!ii", 8, 0)


def redis_answers(port: int) -> bool:
    """Tell whether Redis answers without a password."""
    return _talk(port, b"PING\r\n") == [b"+PONG\r\n"]


def rabbitmq_answers(port: int) -> bool:
    """Tell whether guest:guest is let in: the broker goes on from Start (10, 10) to Tune (10, 30)."""
    login = b"\0guest\0guest"
    start_ok = struct.pack("!HHI", 10, 11, 0) + b"\x05PLAIN" + struct.pack("!I", len(login)) + login + b"\x05en_US"
    frame = struct.pack("!BHI", 1, 0, len(start_ok)) + start_ok + b"\xce"
    answers = _talk(port, b"AMQP\0\0\x09\x01", frame, timeout=5)
    return len(answers) == 2 and answers[1][7:11] == struct.pack("!HH", 10, 30)


# --- One of our own -----------------------------------------------------------------------------------------------


def free_port() -> int:
    """Give a loopback port that nothing uses now, of those that the kernel gives nobody who connects.

    One of the kernel's own is taken by any connection of a busy machine before the service that it is for has begun;
    and whoever asks again and again whether that listens is, once in a while, connected to itself.
    """
    # Not by `random`: hypothesis gives each worker the same numbers.
    for port in (secrets.choice(SERVICE_PORTS) for _ in range(1000)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port
    raise Missing("no free port")


# To each who asked their own: it may take a while until what a port is for begins.
_given: set[int] = set()


def _binary(name: str, *folders: str) -> str:
    """Find a program in PATH or in the folders (globs, the newest version first) where systems hide it."""
    if found := shutil.which(name):
        return found
    for pattern in folders:
        for folder in sorted(Path("/").glob(pattern.lstrip("/")), key=lambda path: path.as_posix(), reverse=True):
            if (folder / name).is_file():
                return str(folder / name)
    raise Missing(f"no {name} on this machine")


class Servant(TypedDict, total=False):
    """What `subprocess` is told about the user who runs a service; empty for the user who runs the tests."""

    user: int
    group: int
    extra_groups: list[int]


def _servant(*names: str) -> Servant:
    """Say as whom to run a service: root gives way to the first of these users, since servers refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in (*names, "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise Missing(f"root may not run it, and there is no user {' or '.join(names)}")


@contextmanager
def _folder(servant: Servant) -> Iterator[Path]:
    """Lend a temporary folder that belongs to the servant."""
    folder = Path(tempfile.mkdtemp(prefix="gaas-peer-"))
    try:
        if servant:
            os.chown(folder, servant["user"], servant["group"])
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(
    command: list[str],
    *,
    answers: Callable[[], bool],
    folder: Path,
    stop: int = signal.SIGTERM,
    servant: Servant | None = None,
    env: dict[str, str] | None = None,
    name: str = "",
) -> Iterator[int]:
    """Run a server until the block ends, from the moment it answers. Ends by the signal `stop`, then by force.

    Its log is `log` in the folder. Raises Missing with the last of that where it does not come up.
    """
    log = folder / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=folder,
            start_new_session=True,
            env=env,
            **(servant or {}),
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers():
            if server.poll() is not None or time.monotonic() > deadline:
                last = log.read_text(errors="replace").strip().splitlines()[-1:]
                name = name or Path(command[0]).name
                raise Missing(f"{name} did not start: {' '.join(last) or 'it said nothing'}")
            time.sleep(0.1)
        yield server.pid
    finally:
        if server.poll() is None:
            server.send_signal(stop)
            try:
                server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def _database_name() -> str:
    """Name the database by the checkout, so that two checkouts can run their tests on one server at once."""
    return "gaas_" + hashlib.sha256(str(Path(__file__).resolve()).encode()).hexdigest()[:8]


@contextmanager
def postgresql(*, own: bool = False) -> Iterator[Peer]:
    """Lend a PostgreSQL. The database in the URL need not exist: pytest-django makes `test_<name>` beside it."""
    if not own:
        if url := os.environ.get("TEST_DATABASE_URL"):
            yield Peer("postgresql", url)
            return
        if postgresql_answers(5432):
            yield Peer("postgresql", f"postgres://postgres@127.0.0.1:5432/{_database_name()}")
            return
    # Resolved, since `postgres` lies beside the real one only; Redis tells by its own link's name what it is.
    initdb = Path(
        _binary("initdb", "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/opt/postgresql*/bin")
    ).resolve()
    postgres = str(initdb.with_name("postgres"))
    servant = _servant("postgres")
    with _folder(servant) as folder:
        data, port = folder / "data", free_port()
        made = subprocess.run(
            [str(initdb), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            **servant,
        )
        if made.returncode:
            raise Missing(f"initdb failed: {' '.join(made.stderr.strip().splitlines()[-1:])}")
        command = [postgres, "-D", str(data), "-p", str(port)]
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200", "fsync=off"]
        command += [part for setting in settings for part in ("-c", setting)]
        with running(
            command, answers=lambda: postgresql_answers(port), folder=folder, stop=signal.SIGINT, servant=servant
        ) as pid:
            yield Peer("postgresql", f"postgres://postgres@127.0.0.1:{port}/gaas", True, pid)


@contextmanager
def redis(*, own: bool = False) -> Iterator[Peer]:
    """Lend a Redis."""
    if not own:
        if url := os.environ.get("TEST_REDIS_URL"):
            yield Peer("redis", url)
            return
        if redis_answers(6379):
            yield Peer("redis", "redis://127.0.0.1:6379/0")
            return
    server, servant, port = _binary("redis-server"), _servant("redis"), free_port()
    with (
        _folder(servant) as folder,
        running(
            [server, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)],
            answers=lambda: redis_answers(port),
            folder=folder,
            stop=signal.SIGTERM,
            servant=servant,
        ) as pid,
    ):
        yield Peer("redis", f"redis://127.0.0.1:{port}/0", True, pid)


@contextmanager
def rabbitmq(*, own: bool = False) -> Iterator[Peer]:
    """Lend a RabbitMQ. One of our own has its own port mapper (epmd) too, which would outlive it and is ended here."""
    if not own:
        if url := os.environ.get("TEST_RABBITMQ_URL"):
            yield Peer("rabbitmq", url)
            return
        if rabbitmq_answers(5672):
            yield Peer("rabbitmq", "amqp://guest:guest@127.0.0.1:5672/")
            return
    # Debian's /usr/sbin/rabbitmq-server is a wrapper that insists on the system's own folders: look past it.
    scripts = [path for path in Path("/usr/lib/rabbitmq").glob("**/bin/rabbitmq-server") if path.is_file()]
    server = str(scripts[0]) if scripts else _binary("rabbitmq-server")
    servant, port, mapper = _servant("rabbitmq"), free_port(), str(free_port())
    with _folder(servant) as folder:
        plugins, config = folder / "plugins", folder / "rabbitmq.conf"
        plugins.write_text("[].\n")
        config.write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\ndisk_free_limit.absolute = 50MB\n")
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": mapper,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"gaas-{port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
        }
        try:
            with running(
                [server],
                answers=lambda: rabbitmq_answers(port),
                folder=folder,
                stop=signal.SIGTERM,
                servant=servant,
                env=environment,
            ) as pid:
                yield Peer("rabbitmq", f"amqp://guest:guest@127.0.0.1:{port}/", True, pid)
        finally:
            if epmd := shutil.which("epmd") or next(map(str, Path("/usr/lib/erlang").glob("erts-*/bin/epmd")), None):
                subprocess.run([epmd, "-port", mapper, "-kill"], capture_output=True, check=False, env=environment)


# --- From the command line ------------------------------------------------------------------------------------------

KINDS = {
    "postgresql": (postgresql, ("TEST_DATABASE_URL", "DATABASE_URL")),
    "redis": (redis, ("TEST_REDIS_URL",)),
    "rabbitmq": (rabbitmq, ("TEST_RABBITMQ_URL",)),
}


def _ended(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main(arguments: list[str]) -> int:
    """Run the command behind `--` with the named peers in its environment."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    names, command = arguments[:split], arguments[split + 1 :]
    if not names or not command or set(names) - set(KINDS):
        print(f"usage: peers.py {{{','.join(KINDS)}}} ... -- COMMAND ...", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _ended)  # so that the blocks below are left, and their servers ended
    environment = dict(os.environ)
    with ExitStack() as stack:
        for name in names:
            lend, variables = KINDS[name]
            try:
                peer = stack.enter_context(lend())
            except Missing as why:
                in_ci = os.environ.get("CI") == "true"
                print(f"{'FAILED' if in_ci else 'NOT RUN'} with {name}: {why}", flush=True)
                return 1 if in_ci else 0
            print(f"== {name}: {'started for this run' if peer.is_own else 'found'} on port {peer.port}", flush=True)
            environment.update(dict.fromkeys(variables, peer.url))
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
