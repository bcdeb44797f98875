"""Hosts whose agent runs tasks in containers, what they are given to do, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpus.agent.executors.engine import Engine
from gpus.tests.agent.host import Host
from gpus.tests.agent.peer import Peer, Work
from tests.systems.containers.engines import IMAGE

MAX_PROCESSES = 100
PATIENCE = 180


@contextmanager
def a_host(folder: Path, socket: str) -> Iterator[Host]:
    """Lend a host that has not been started, with a peer of its own."""
    peer = Peer()
    folder.chmod(0o755)
    host = Host(peer, folder, engine=socket)
    with host.config.open("a") as config:
        config.write(f"max_processes = {MAX_PROCESSES}\ntmp_mib = 32\n")
    yield host
    host.close()
    peer.close()


def offer(host: Host, script: str = "", **given: object) -> Work:
    payload: dict[str, object] = {"image": IMAGE, **({"script": script} if script else {})}
    payload |= given.pop("payload", {})  # type: ignore[call-overload]
    return host.peer.offer(**{"executor": "container", "payload": payload, "limit_ms": 600_000} | given)


def until_said(host: Host, work: Work, word: str) -> None:
    """Wait until a program has written something."""
    host.peer.until(lambda: word.encode() in work.log, PATIENCE, f"{word!r} in the log; {host.said()[-2000:]}")


def go_on(host: Host, work: Work) -> None:
    """Let a program go on that waits for the file `go` in its folder."""
    (host.folder_of(work) / "box" / "work" / "go").touch()


def end_of(host: Host, work: Work, seconds: float = PATIENCE) -> dict:
    try:
        return host.peer.until_finished(work, seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}; {host.said()[-3000:]}") from None


def said(work: Work) -> str:
    return bytes(work.log).decode(errors="replace")


def containers_of(engine: Engine, work: Work) -> list[dict]:
    return engine.labelled(f"gaas.attempt={work.assignment.id}")
