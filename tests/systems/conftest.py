"""Peers for whole-system tests: lent where there are any, else one line why not, and a failure where CI=true."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import peers

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in this folder, so that `make test` leaves it to `make test-systems`."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("systems")


def not_run(why: str) -> None:
    """Say why a test cannot run here: a skip, or a failure where CI promises that everything is there."""
    if os.environ.get("CI") == "true":
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


def _lent(kind: str, *, own: bool = False) -> Iterator[peers.Peer]:
    lend, _variables = peers.KINDS[kind]
    try:
        with lend(own=own) as peer:
            yield peer
    except peers.Missing as why:
        not_run(f"{kind}: {why}")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[peers.Peer]:
    """A PostgreSQL, found or started."""
    yield from _lent("postgresql")


@pytest.fixture(scope="session")
def redis() -> Iterator[peers.Peer]:
    """A Redis, found or started."""
    yield from _lent("redis")


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[peers.Peer]:
    """A RabbitMQ, found or started."""
    yield from _lent("rabbitmq")


@pytest.fixture
def own_postgresql() -> Iterator[peers.Peer]:
    """A PostgreSQL of this test's own, to kill and to fill."""
    yield from _lent("postgresql", own=True)


@pytest.fixture
def own_redis() -> Iterator[peers.Peer]:
    """A Redis of this test's own, to kill and to flush."""
    yield from _lent("redis", own=True)


@pytest.fixture
def own_rabbitmq() -> Iterator[peers.Peer]:
    """A RabbitMQ of this test's own, to kill and to fill."""
    yield from _lent("rabbitmq", own=True)
