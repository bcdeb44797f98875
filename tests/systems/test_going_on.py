"""A program without an end, under a real agent: prolonged while there are hours, ended within what was held."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.systems.house import Up
from tests.systems.people import PATIENCE_SECONDS, eventually, newcomer

pytestmark = pytest.mark.systems

# Three steps and a little; of the steps so much is left at each next one that a busy machine is in time for it.
HAS_MS, STEP_SECONDS, AHEAD_SECONDS = 34_200, 10, 8
SERVES = "#!/usr/bin/env python3\nimport time\nwhile True:\n    time.sleep(1)\n"


def test_it_goes_on_until_nobody_pays_and_costs_no_more(tmp_path: Path) -> None:
    environment = {
        "WELCOME_HOURS": str(HAS_MS / 3_600_000),
        "PROLONG_STEP_SECONDS": str(STEP_SECONDS),
        "PROLONG_AHEAD_SECONDS": str(AHEAD_SECONDS),
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
        step = STEP_SECONDS * 1000
        eventually(
            PATIENCE_SECONDS,
            "it is prolonged",
            lambda: look()["gpu_ms"] > step and look()["status"] == "PROCESSING",
        )
        ended = eventually(PATIENCE_SECONDS, "it ends", lambda: look()["finished_at"] and look())
        assert (ended["status"], ended["failure"]["code"]) == ("FAILED", "hold_used_up")
        assert 2 * step < ended["gpu_ms"] <= HAS_MS
        told = person.call("GET", f"tasks/{task['id']}/events/")["results"]
        assert any("lasts until" in event["reason"] for event in told)
        house.manage("ledger_check")
