"""Podman of an ordinary user."""

from __future__ import annotations

from gpus.agent.config import Config
from gpus.agent.executors.container import ContainerExecutor
from gpus.agent.executors.engine import Engine
from tests.peers import Missing
from tests.systems.conftest import not_run
from tests.systems.containers.engines import rootless_podman_socket

ROOTLESS_USER = 5  # an ordinary user that every Debian has


class TestRootlessPodman:
    """Podman of an ordinary user, on a private socket."""

    def test_it_is_not_used_where_it_ignores_limits(self) -> None:
        """It takes limits on cgroups of version 1, and exits 0 without them: refused, whatever it says of itself."""
        try:
            with rootless_podman_socket(ROOTLESS_USER) as path:
                info = Engine(path).call("GET", "/info")
                why = ContainerExecutor.unusable(Config(server="http://127.0.0.1:9", engine=path))
        except Missing as missing:
            not_run(f"rootless podman: {missing}")
        assert info["MemoryLimit"]
        assert info["PidsLimit"]
        if info["CgroupVersion"] == "1":
            assert "limits neither memory nor processes" in (why or "it is used")
        else:
            assert why is None
