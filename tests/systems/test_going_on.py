"""A program without an end, under a real agent: prolonged while there are hours, ended within what was held."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.systems.house import Up
from tests.systems.people import eventually, newcomer

pytestmark = pytest.mark.systems

HAS_MS = 21_600
SERVES = "#!/usr/bin/env python3\nimport time\nwhile True:\n    time.sleep(1)\n"


def test_it_goes_on_until_nobody_pays_and_costs_no_more(tmp_path: Path) -> None:
    environment = {
        "WELCOME_HOURS": "0.006",
        "PROLONG_STEP_SECONDS": "6",
        "PROLONG_AHEAD_SECONDS": "4",
        "SYNC_BUSY_SECONDS": "1",
        "SWEEP_SECONDS": "1",
    }
    with Up(tmp_path, environment, gpus=1) as house:
        person = newcomer(house.url, "gwen")
        body = {"title": "Serve", "spec": {"script": SERVES, "serve": True}, "hours": None}
        task = person.call("POST", "tasks/", expect=201, json=body)
        house.admin().approve(task["id"])

        def look() -> dict:
            return person.call("GET", f"tasks/{task['id']}/")

        # Charged while it runs, and more than one step of it.
        eventually(60, "it is prolonged", lambda: look()["gpu_ms"] > 6_000 and look()["status"] == "PROCESSING")
        ended = eventually(60, "it ends", lambda: look()["finished_at"] and look())
        assert (ended["status"], ended["failure"]["code"]) == ("FAILED", "hold_used_up")
        assert 12_000 < ended["gpu_ms"] <= HAS_MS
        told = person.call("GET", f"tasks/{task['id']}/events/")["results"]
        assert any("lasts until" in event["reason"] for event in told)
        house.manage("ledger_check")
