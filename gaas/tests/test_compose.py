"""The proxy of docker-compose.yml leads to `live` what only `live` answers, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from gaas import relays, streams, waits

ROOT = Path(__file__).resolve().parents[2]
PROXY = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["configs"]["proxy"]["content"]
[TO_LIVE] = re.findall(r"@live path_regexp (\S+)", PROXY)
ID = "01a1fa15-ed78-7d69-b783-128d4856ed00"


class TestProxy:
    @pytest.mark.parametrize(
        "path",
        [
            waits.PATH,
            f"{relays.AGENTS}{ID}",
            f"{relays.HOP}{ID}/v1/models",
            f"{streams.PREFIX}{ID}/logs",
            f"{streams.PREFIX}{ID}/events",
            f"/api/v1/tasks/{ID}/service/v1/models",
        ],
    )
    def test_it_leads_there_what_is_not_djangos(self, path):
        assert re.search(TO_LIVE, path)

    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/admin/",
            "/tasks/",
            "/api/agent/v1/sync",
            "/api/v1/tasks/",
            f"/api/v1/tasks/{ID}/logs/stream/",
            f"/api/v1/tasks/{ID}/service/",
        ],
    )
    def test_it_leads_the_rest_to_web(self, path):
        assert not re.search(TO_LIVE, path)
