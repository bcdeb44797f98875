from __future__ import annotations

import pytest

from gpus.agent.executors import bubblewrap

from .host import Host
from .peer import Peer

MODES = ("bubblewrap", "unsandboxed")


def skip_without(mode: str) -> None:
    why = bubblewrap.unusable("bwrap") if mode == "bubblewrap" else None
    if why is not None:
        pytest.skip(f"bubblewrap cannot be used here: {why}")


@pytest.fixture
def peer():
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def host(peer, tmp_path):
    """An unsandboxed host that has not been started."""
    host = Host(peer, tmp_path)
    yield host
    host.close()


@pytest.fixture(params=MODES)
def either_host(request, peer, tmp_path):
    """A host that has not been started, once with a sandbox and once without."""
    skip_without(request.param)
    host = Host(peer, tmp_path, mode=request.param)
    yield host
    host.close()


@pytest.fixture(scope="module", params=MODES)
def running(request, tmp_path_factory):
    """A host at work that a module's tests share, once with a sandbox and once without."""
    skip_without(request.param)
    peer = Peer()
    host = Host(peer, tmp_path_factory.mktemp("host"), mode=request.param)
    host.run()
    yield host
    host.close()
    peer.close()


@pytest.fixture(scope="module")
def sandboxed(tmp_path_factory):
    skip_without("bubblewrap")
    peer = Peer()
    host = Host(peer, tmp_path_factory.mktemp("host"), mode="bubblewrap")
    host.run()
    yield host
    host.close()
    peer.close()


@pytest.fixture(scope="module")
def working(tmp_path_factory):
    """An unsandboxed host at work that a module's tests share; they leave it as they found it."""
    peer = Peer()
    host = Host(peer, tmp_path_factory.mktemp("host"))
    host.run()
    yield host
    host.close()
    peer.close()
