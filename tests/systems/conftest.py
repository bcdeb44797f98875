"""Peers for whole-system tests: lent where there are any, else one line why not, and a failure where CI=true."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests import peers
from tests.systems.browser import Visitor, visits
from tests.systems.engine import ROOT, Engine, docker_engine
from tests.systems.house import ADMIN, Up

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in this folder, so that `make test` leaves it to `make test-systems`."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("systems")


@pytest.fixture(scope="session", autouse=True)
def _told_to_stop() -> Iterator[None]:
    """Take SIGTERM as Ctrl-C, so that a run that is cut short ends what it started."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)  # one that comes to a worker when all is done interrupts nothing


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


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A Chromium that calls nobody by itself."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        not_run("no chromium on this machine")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def browsed(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A platform with two simulated GPUs for those who come with a browser, as often as tests log in."""
    environment = {"THROTTLE_TOKEN": "1000/min", "THROTTLE_TOKEN_ADDRESS": "1000/min"}
    with Up(tmp_path_factory.mktemp("browsed"), environment) as house:
        yield house


@pytest.fixture
def visit(chromium: Browser, browsed: Up) -> Iterator[Callable[..., Visitor]]:
    yield from visits(chromium, browsed.url)


@pytest.fixture
def admin(visit: Callable[..., Visitor], browsed: Up) -> Visitor:
    """Staff in front of the admin's first page."""
    return visit().log_in(ADMIN, browsed.password)


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


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A Docker engine, found or started."""
    # An engine needs rights of the kernel that no package gives: its absence is a skip even where CI=true.
    try:
        with docker_engine() as engine:
            yield engine
    except peers.Missing as why:
        pytest.skip(f"the image was not built: {why}")


@pytest.fixture(scope="session")
def image(engine: Engine) -> Iterator[str]:
    """The name of an image that was built from the Dockerfile."""
    name, started = f"gaas-test-{os.getpid()}", time.monotonic()
    try:
        base, options = engine.base_image("requirements-dev.txt")
    except peers.Missing as why:
        pytest.skip(f"the image was not built: {why}")
    print(f"\nbase image {base} after {time.monotonic() - started:.0f} s", flush=True)
    started = time.monotonic()
    engine.docker("build", *options, "--build-arg", f"BASE_IMAGE={base}", "--tag", name, str(ROOT))
    print(f"built in {time.monotonic() - started:.0f} s", flush=True)
    yield name
    engine.docker("image", "rm", "--force", name, check=False)
