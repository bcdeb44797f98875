"""Engines with their registries, and hosts that run tasks by them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpus.agent.executors.engine import Engine
from gpus.tests.agent.host import Host
from tests.peers import Missing
from tests.systems.conftest import not_run
from tests.systems.containers.engines import SOCKETS, import_images
from tests.systems.containers.hosts import a_host
from tests.systems.registry import Registry


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    registry = Registry()
    yield registry
    registry.close()


@pytest.fixture(scope="session")
def closed() -> Iterator[Registry]:
    """A registry that asks for a log-in."""
    registry = Registry(needs_login=True)
    yield registry
    registry.close()


@pytest.fixture(scope="session", params=list(SOCKETS))
def socket(request: pytest.FixtureRequest, registry: Registry, closed: Registry) -> Iterator[str]:
    """The socket of an engine that has the image."""
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(SOCKETS[request.param](registry, closed))
            import_images(path)
        except Missing as why:
            not_run(f"{request.param}: {why}")
        yield path


@pytest.fixture(scope="session")
def engine(socket: str) -> Engine:
    return Engine(socket)


@pytest.fixture(scope="session")
def shared(socket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host at work that the tests of an engine share; they leave it as they found it."""
    with a_host(tmp_path_factory.mktemp("host"), socket) as host:
        host.run()
        # An engine that takes its time is named by a later sync than the first.
        host.peer.until(lambda: "container" in host.peer.syncs[-1]["facts"]["executors"], 120, "the engine to be told")
        yield host


@pytest.fixture
def own(socket: str, tmp_path: Path) -> Iterator[Host]:
    """A host for a test that kills its agent."""
    with a_host(tmp_path, socket) as host:
        yield host
