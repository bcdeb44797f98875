"""Files through a whole house: sent, given to a task, left by it, given to the next; checkpoints survive."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.systems.house import House, Up
from tests.systems.people import PATIENCE_SECONDS, Person, at_its_end, eventually, newcomer

ENVIRONMENT = {"TIMER_SCALE": "0.1", "CHECKPOINT_SECONDS": "0.3", "STORAGE_QUOTA_MIB": "64"}
DATA = bytes(range(256)) * 80_000  # 20 MiB: more than one piece, more than one batch

TRAIN = """
set -e
test "$(sha256sum < "$GAAS_INPUT/data/train.bin" | cut -c1-64)" = SHA256
cp "$GAAS_INPUT/data/train.bin" "$GAAS_OUTPUT/weights.bin"
mkdir "$GAAS_OUTPUT/logs"; echo fine > "$GAAS_OUTPUT/logs/loss.txt"
ln -s /etc/passwd "$GAAS_OUTPUT/stolen"; mkfifo "$GAAS_OUTPUT/pipe"; truncate -s 9999G "$GAAS_OUTPUT/huge"
"""
SERVE = """
set -e
test "$(sha256sum < "$GAAS_INPUT/model.bin" | cut -c1-64)" = SHA256
echo served
"""
RESUME = """
cd "$GAAS_CHECKPOINT"
if [ -f step ]; then echo "goes on from $(cat step)"; exit 0; fi
echo 41 > step.tmp; mv step.tmp step
echo "half written" > next.tmp
sleep 300
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with Up(tmp_path_factory.mktemp("files"), ENVIRONMENT) as house:
        yield house


@pytest.fixture(scope="module")
def alice(house: House) -> Person:
    return newcomer(house.url, "alice", patient=True)


def upload(person: Person, name: str, data: bytes) -> str:
    """Send a file in three parts, the second of them twice."""
    made = person.call("POST", "uploads/", json={"name": name, "size": len(data)})
    third = len(data) // 3
    for start, end in ((0, third), (third, 2 * third), (third, 2 * third), (2 * third, len(data))):
        person.ask(
            "PUT",
            f"uploads/{made['id']}/content/",
            params={"offset": start},
            content=data[start:end],
            headers={"Content-Type": "application/octet-stream"},
        )
    digest = hashlib.sha256(data).hexdigest()
    assert person.call("POST", f"uploads/{made['id']}/complete/", json={"sha256": digest})["status"] == "WHOLE"
    return str(made["id"])


def run(house: House, person: Person, script: str, *inputs: dict[str, str]) -> dict[str, Any]:
    body = {"title": "A task", "spec": {"script": script}, "hours": "0.1", "inputs": list(inputs)}
    made: dict[str, Any] = person.call("POST", "tasks/", json=body)
    house.admin().approve(made["id"])
    return made


def log_of(person: Person, task: dict[str, Any]) -> str:
    return person.ask("GET", f"tasks/{task['id']}/logs/").text


def hand_on_from_task_to_task(house: House, alice: Person) -> None:
    """Give an upload to a task, and what that leaves to another; fetch the result by a range and in a ZIP."""
    digest = hashlib.sha256(DATA).hexdigest()
    given = {"upload": upload(alice, "train.bin", DATA), "as": "data/train.bin"}
    first = run(house, alice, TRAIN.replace("SHA256", digest), given)

    ended = at_its_end(alice, first["id"])

    assert ended["status"] == "COMPLETED", (ended, log_of(alice, first))
    rows = {row["name"]: row for row in alice.pages(f"tasks/{first['id']}/artifacts/")}
    assert set(rows) == {"weights.bin", "logs/loss.txt"}
    assert rows["weights.bin"]["sha256"] == digest
    for word in ("stolen", "link", "pipe", "no plain file", "huge", "larger"):
        assert word in ended["files_note"]
    part = alice.ask(
        "GET",
        f"tasks/{first['id']}/artifacts/{rows['weights.bin']['id']}/content/",
        headers={"Range": "bytes=10000000-10000099"},
    )
    assert (part.status_code, part.content) == (206, DATA[10_000_000:10_000_100])
    whole = alice.ask("GET", f"tasks/{first['id']}/artifacts/archive/").content
    assert whole.startswith(b"PK")
    assert len(whole) > len(DATA)

    second = run(
        house,
        alice,
        SERVE.replace("SHA256", digest),
        {"task": first["id"], "artifact": "weights.bin", "as": "model.bin"},
    )

    assert at_its_end(alice, second["id"])["status"] == "COMPLETED"
    assert log_of(alice, second).endswith("served\n")


def test_what_one_task_leaves_the_next_is_given(house: House, alice: Person) -> None:
    hand_on_from_task_to_task(house, alice)


def test_results_beyond_the_quota_are_refused_and_said(house: House) -> None:
    bob = newcomer(house.url, "bob", patient=True)
    task = run(house, bob, 'head -c 70000000 /dev/zero > "$GAAS_OUTPUT/zeros"; echo small > "$GAAS_OUTPUT/small"')
    ended = at_its_end(bob, task["id"])
    assert ended["status"] == "COMPLETED"
    assert [row["name"] for row in bob.pages(f"tasks/{task['id']}/artifacts/")] == ["small"]
    assert "zeros" in ended["files_note"]
    assert "64 MiB" in ended["files_note"]


def test_a_checkpoint_survives_the_end_of_its_host(house: House, alice: Person) -> None:
    task = run(house, alice, RESUME)
    database = house.folder / "home" / "gaas.sqlite3"

    def is_kept() -> bool:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=20) as books:
            (count,) = books.execute("SELECT count(*) FROM tasks_artifact WHERE is_current").fetchone()
        return bool(count)

    eventually(PATIENCE_SECONDS, "the checkpoint is kept", is_kept)

    # The host is gone with all that it knew: agent, supervisor, program and what lay on its disk.
    for pid in house.supervisors():
        os.kill(pid, signal.SIGKILL)
    house.kill("agent")
    for folder in Path(house.folder, "home", "agent", "attempts").iterdir():
        shutil.rmtree(folder, ignore_errors=True)

    ended = at_its_end(alice, task["id"])
    attempts = list(alice.pages(f"tasks/{task['id']}/attempts/"))
    assert ended["status"] == "COMPLETED", (ended, attempts)
    assert len(attempts) >= 2
    assert log_of(alice, task) == "goes on from 41\n"
