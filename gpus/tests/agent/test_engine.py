"""What an engine's refusals mean."""

from __future__ import annotations

import pytest

from gpus.agent.executors.engine import EngineError


class TestEngineError:
    @pytest.mark.parametrize(
        ("status", "says", "is_absence"),
        [
            (404, "no container with name or ID", True),
            (500, "container 45c1 does not exist in database: no such container", True),
            (500, "database is locked", False),
            (409, "removal is in progress", False),
            (0, "/run/docker.sock does not answer", False),
        ],
    )
    def test_it_tells_whether_there_is_no_such_container(self, status, says, is_absence):
        assert EngineError(status, says).is_absence is is_absence
