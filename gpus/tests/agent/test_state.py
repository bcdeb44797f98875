from __future__ import annotations

import os
import subprocess

import pytest

from gpus.agent import durable
from gpus.agent.attempt import Attempt, UnsafeId
from gpus.agent.config import SimulatedGpu
from gpus.agent.devices import Devices, simulated
from gpus.agent.logfile import LogFile
from gpus.agent.protocol import Assignment
from gpus.agent.state import State, StateBusy


def assignment(**given: object) -> Assignment:
    values = {
        "id": "0190-ab", "epoch": 1, "task_id": "t", "title": "", "kind": "script", "executor": "process",
        "payload": {}, "env": {}, "gpu_uuids": [], "limit_ms": 1000, "grace_ms": 1000,
    }  # fmt: skip
    return Assignment(**(values | given))  # type: ignore[arg-type]


class TestState:
    def test_it_gives_no_number_twice_whenever_it_is_killed(self, tmp_path):
        given = []
        for _ in range(3):
            state = State(tmp_path)
            given += [state.next_seq() for _ in range(1500)]
        assert given == sorted(set(given))
        assert State(tmp_path).next_seq(past=10**6) == 10**6 + 1

    def test_it_keeps_its_session(self, tmp_path):
        assert State(tmp_path).session() == State(tmp_path).session()

    def test_it_lets_one_agent_in(self, tmp_path):
        first = State(tmp_path)
        assert not first.is_locked()
        first.lock()
        assert State(tmp_path).is_locked()
        with pytest.raises(StateBusy):
            State(tmp_path).lock()

    def test_it_reads_no_lease_from_rubbish(self, tmp_path):
        state = State(tmp_path)
        assert state.lease_deadline() is None
        state.keep_lease(12.5)
        assert state.lease_deadline() == 12.5
        state.lease_path.write_text("[" * 100_000)
        assert state.lease_deadline() is None


class TestAttempt:
    def test_it_is_there_whole_or_not_at_all(self, tmp_path):
        kept = Attempt.keep(tmp_path, assignment())
        (tmp_path / ".other.part").mkdir()
        (tmp_path / "never-written").mkdir()
        assert [attempt.id for attempt in Attempt.load_all(tmp_path)] == [kept.id]
        assert os.listdir(tmp_path) == [kept.id]

    def test_it_takes_no_path_for_an_id(self, tmp_path):
        for bad in ("", ".", "..", "a/b", "../x", ".hidden", "a\0b", "x" * 100, "a\n"):
            with pytest.raises(UnsafeId):
                Attempt.keep(tmp_path, assignment(id=bad))
        assert os.listdir(tmp_path) == []

    def test_a_later_request_to_stop_only_shortens_the_grace(self, tmp_path):
        attempt = Attempt.keep(tmp_path, assignment())
        attempt.ask_stop("cancelled", 5000)
        attempt.ask_stop("cancelled", 9000)
        assert attempt.stop_asked() == {"reason": "cancelled", "grace_ms": 5000}
        attempt.ask_stop("discarded", 0)
        assert attempt.stop_asked() == {"reason": "discarded", "grace_ms": 0}
        attempt.remove()
        attempt.ask_stop("cancelled", 0)

    def test_it_is_removed_with_whatever_a_program_left(self, tmp_path):
        attempt = Attempt.keep(tmp_path, assignment())
        work = attempt.folder / "box/work"
        subprocess.run(["sh", "-c", "mkdir -p closed/x && chmod 000 closed"], cwd=work, check=True)
        deep = "import os\nfor _ in range(1500):\n    os.mkdir('d'); os.chdir('d')\n"
        subprocess.run(["python3", "-c", deep], cwd=work, check=True)
        attempt.remove()
        assert os.listdir(tmp_path) == []


class TestDurable:
    def test_it_never_follows_a_link_or_widens_a_mode(self, tmp_path):
        durable.write(tmp_path / "secret", b"x")
        assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
        (tmp_path / "elsewhere").write_text("kept")
        (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
        durable.write(tmp_path / "link", b"new")
        assert (tmp_path / "elsewhere").read_text() == "kept"

    def test_it_reads_only_objects(self, tmp_path):
        for text in ("", "[]", "3", "{", "[" * 100_000):
            (tmp_path / "file").write_text(text)
            assert durable.read_json(tmp_path / "file") is None


class TestLogFile:
    def test_it_keeps_within_the_limit_and_swallows_the_rest(self, tmp_path):
        log = LogFile(tmp_path / "log", 200)
        for _ in range(10):
            log.write(b"0123456789" * 3)
        log.close()
        text = (tmp_path / "log").read_bytes()
        assert len(text) <= 200
        assert text.endswith(b"\n[gaas: log cut at 136 bytes]\n")
        assert text.startswith(b"0123456789" * 13)


class TestDevices:
    def test_simulated_ones_keep_their_ids(self):
        session = "5f0d5d0c-3d1c-4a39-9d0c-111111111111"
        first = simulated([SimulatedGpu(), SimulatedGpu(model="Big")], session)
        assert [gpu.uuid for gpu in first] == [gpu.uuid for gpu in simulated([SimulatedGpu()] * 2, session)]
        assert len({gpu.uuid for gpu in first}) == 2
        assert all(gpu.is_simulated and gpu.uuid.startswith("SIM-") for gpu in first)

    def test_a_program_gets_the_nodes_of_its_own_gpus_alone(self):
        devices = Devices(nodes={"GPU-a": "/dev/nvidia0", "GPU-b": "/dev/nvidia1"})
        given = devices.nodes_of(["GPU-b", "SIM-x"])
        assert "/dev/nvidia1" in given
        assert "/dev/nvidia0" not in given
        assert devices.nodes_of(["SIM-x"]) == []
