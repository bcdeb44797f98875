"""A whole house on a Slurm cluster: submitted over REST, approved, run as a job, charged; and cancelled."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers import Missing
from tests.systems import slurm as clusters
from tests.systems.conftest import not_run
from tests.systems.house import START_SECONDS, Up
from tests.systems.people import TERMINAL, Person, eventually, newcomer
from tests.systems.slurm import GPUS_PER_NODE, NODES, Slurm

PATIENCE = 180
GPUS = len(NODES) * GPUS_PER_NODE
TRAINS = """#!/bin/sh
echo "with $CUDA_VISIBLE_DEVICES"
sleep 3
echo '{"loss": 0.5}' > "$GAAS_OUTPUT/result.json"
echo weights > "$GAAS_OUTPUT/model.bin"
"""
GOES_ON = """#!/bin/sh
(trap '' TERM; sleep 3600) &
echo ready
sleep 3600
"""


class OnSlurm(Up):
    """One process with the whole platform, and beside it an agent that stands for a partition."""

    def __init__(self, folder: Path, cluster: Slurm) -> None:
        super().__init__(folder, {}, gpus=GPUS)
        self.cluster = cluster
        command = [sys.executable, "manage.py", "up", "--port", str(self.port), "--no-agent"]
        self._commands["up"] = (command, {})

    def open(self) -> None:
        self.manage("migrate", "--noinput")
        self.start("up")
        self.await_answers(self.url, "up")
        self.make_admin()
        admin = self.admin()
        host: dict[str, Any] = admin.call("POST", "hosts/", json={"name": "cluster"})
        config = self.folder / "agent.toml"
        config.write_text(self.cluster.section(nodes_seconds=1.0))
        command = [sys.executable, "-m", "gpus.agent", "run", "--config", str(config), "--server", self.url]
        command += ["--state", str(self.folder / "agent"), "--unsandboxed"]
        self._commands["partition"] = (command, {**self.cluster.environment, "GAAS_JOIN_TOKEN": host["join_token"]})
        self.start("partition")

        def told() -> list[dict[str, Any]]:
            found = list(admin.pages("gpus/"))
            return found if len(found) == GPUS else []

        for gpu in eventually(START_SECONDS, f"the partition's GPUs; {self.log('partition')}", told):
            admin.call("PATCH", f"gpus/{gpu['id']}/", json={"visibility": "PUBLIC", "accepts_quota": True})
            admin.call("POST", f"gpus/{gpu['id']}/list/", json={})
        self.await_gpus(admin, GPUS)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnSlurm]:
    try:
        with clusters.cluster() as cluster, OnSlurm(tmp_path_factory.mktemp("house"), cluster) as house:
            yield house
            assert not [job for job in cluster.jobs() if job["state"] in ("PENDING", "RUNNING")]
    except Missing as why:
        not_run(f"slurm: {why}")


def submitted(house: OnSlurm, person: Person, script: str, gpus: int = 1) -> str:
    """Submit as somebody, approve as staff; gives the task's id."""
    body = {"title": "Train", "spec": {"script": script}, "hours": "1", "gpus": gpus, "gpu_model": "Toy GPU"}
    task = person.call("POST", "tasks/", expect=201, json=body)
    assert task["status"] == "PENDING"
    house.admin().approve(task["id"])
    return str(task["id"])


def at_its_end(house: OnSlurm, person: Person, id_: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        task = person.task(id_)
        return task if task["status"] in TERMINAL else None

    try:
        ended: dict[str, Any] = eventually(PATIENCE, f"the end of {id_}", look, each=0.3)
    except AssertionError as error:
        raise AssertionError(
            f"{error}\n{person.task(id_)}\n{house.log('partition')}\n{house.cluster.jobs()}"
        ) from error
    return ended


def test_what_staff_approved_runs_as_a_job_and_is_charged(house: OnSlurm) -> None:
    person = newcomer(house.url, "slurm-alice")
    before = person.account()["available_gpu_ms"]
    id_ = submitted(house, person, TRAINS, gpus=2)
    task = at_its_end(house, person, id_)

    assert (task["status"], task["exit_code"], task["result"]) == ("COMPLETED", 0, {"loss": 0.5})
    (job,) = [job for job in house.cluster.jobs() if job["name"].startswith("gaas-")]
    assert job["state"] == "COMPLETED"
    assert job["node"] in NODES
    assert person.ask("GET", f"tasks/{id_}/logs/").text == "with 0,1\n"
    assert "model.bin" in {row["name"] for row in person.pages(f"tasks/{id_}/artifacts/")}
    # Two GPUs for the three seconds that it slept, and what little stood around them; not for the queue.
    assert 2 * 3_000 <= task["gpu_ms"] < 2 * 60_000
    account = person.account()
    assert account["available_gpu_ms"] == before - task["gpu_ms"]
    house.manage("ledger_check")


def test_a_cancel_ends_the_job_with_all_that_it_started(house: OnSlurm) -> None:
    person = newcomer(house.url, "slurm-bob")
    before = person.account()["available_gpu_ms"]
    id_ = submitted(house, person, GOES_ON)
    eventually(PATIENCE, "it runs", lambda: "ready" in person.ask("GET", f"tasks/{id_}/logs/").text, each=0.3)
    person.call("POST", f"tasks/{id_}/cancel/", json={"reason": "Enough."})
    task = at_its_end(house, person, id_)

    assert task["status"] == "CANCELLED"
    assert 0 < task["gpu_ms"] < 3_600_000
    assert person.account()["available_gpu_ms"] == before - task["gpu_ms"]
    eventually(PATIENCE, "nothing of it is left", lambda: not [line for _, line in house.programs() if id_ in line])
    eventually(
        PATIENCE,
        "the job is over",
        lambda: not [job for job in house.cluster.jobs() if job["state"] in ("PENDING", "RUNNING", "COMPLETING")],
    )
    house.manage("ledger_check")
