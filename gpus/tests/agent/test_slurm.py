"""What the Slurm executor reads and decides without a cluster; the rest is shown on a real one (tests/systems)."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from gpus.agent import clock, durable
from gpus.agent.attempt import Attempt, Order
from gpus.agent.config import ConfigError, load
from gpus.agent.protocol import Assignment
from gpus.agent.slurm import batch, library, samples, states
from gpus.agent.slurm.commands import Node
from gpus.agent.slurm.inventory import MOST, Device, indexes, is_fit, take, types
from gpus.agent.slurm.node import Given, Lease, claim, measurable
from gpus.agent.slurm.settings import GpuType, SlurmSettings

A100 = GpuType("NVIDIA A100", 81_920, "8.0")
SETTINGS = SlurmSettings(partition="gpu", shared_dir="/shared", gpus={"a100": A100})

SECTION = """
[slurm]
partition = "gpu"
shared_dir = "/shared/gaas"
{more}
[slurm.gpus.a100]
model = "NVIDIA A100"
vram_mib = 81920
{gpu}
"""


def an_attempt(folder: Path, **given: object) -> Attempt:
    values = {
        "id": "0196a000-0000-7000-8000-000000000001",
        "epoch": 1,
        "task_id": "t",
        "title": "",
        "kind": "script",
        "executor": "slurm",
        "payload": {"script": "true"},
        "env": {},
        "gpu_uuids": [],
        "limit_ms": 60_000,
        "grace_ms": 10_000,
    } | given
    return Attempt.keep(folder, Assignment(**values))  # type: ignore[arg-type]


class TestSettings:
    def test_it_reads_a_section(self, tmp_path):
        file = tmp_path / "agent.toml"
        file.write_text(SECTION.format(more="bind_nodes = false\npoll_seconds = 5", gpu=""))
        slurm = load(str(file)).slurm
        assert slurm is not None
        assert (slurm.partition, slurm.bind_nodes, slurm.poll_seconds) == ("gpu", False, 5.0)
        assert slurm.gpus == {"a100": GpuType("NVIDIA A100", 81_920)}

    @pytest.mark.parametrize(
        ("more", "gpu", "named"),
        [
            ("patition = 'x'", "", "slurm.patition"),
            ("cpus_per_gpu = 0", "", "slurm.cpus_per_gpu"),
            ("conf = 'relative'", "", "slurm.conf"),
            ("python = 'python3; rm -rf'", "", "slurm.python"),
            ("", "size = 3", "slurm.gpus.a100"),
            ("", "simulated = 1", "slurm.gpus.a100.simulated"),
        ],
    )
    def test_it_names_what_is_wrong(self, tmp_path, more, gpu, named):
        file = tmp_path / "agent.toml"
        file.write_text(SECTION.format(more=more, gpu=gpu))
        with pytest.raises(ConfigError, match=named):
            load(str(file))

    def test_it_needs_the_gpus_described(self, tmp_path):
        file = tmp_path / "agent.toml"
        file.write_text('[slurm]\npartition = "gpu"\nshared_dir = "/shared"\n')
        with pytest.raises(ConfigError, match=r"slurm\.gpus"):
            load(str(file))


class TestInventory:
    @pytest.mark.parametrize(
        ("gres", "read"),
        [
            ("gpu:a100:4(S:0-1)", [("a100", 4)]),
            ("gpu:2", [("gpu", 2)]),
            ("gpu:a100:2(S:0),gpu:v100:1(S:1),mps:200", [("a100", 2), ("v100", 1)]),
            ("(null)", []),
        ],
    )
    def test_it_reads_types_with_their_number(self, gres, read):
        assert types(gres) == read

    @pytest.mark.parametrize(
        ("used", "read"),
        [
            ("gpu:a100:3(IDX:0-1,3)", {0, 1, 3}),
            ("gpu:a100:0(IDX:N/A)", set()),
            ("gpu:a100:1(IDX:1),gpu:v100:1(IDX:4)", {1, 4}),
        ],
    )
    def test_it_reads_the_indexes_in_use(self, used, read):
        assert indexes(used) == read

    @pytest.mark.parametrize("state", ["idle", "mixed", "allocated", "idle~", "mixed-", "completing"])
    def test_it_offers_nodes_that_work(self, state):
        assert is_fit(state)

    @pytest.mark.parametrize(
        "state", ["down", "idle*", "drained", "draining", "maint", "idle$", "mixed@", "unknown", "fail"]
    )
    def test_it_offers_no_others(self, state):
        assert not is_fit(state)

    def test_ids_do_not_depend_on_what_other_nodes_do(self):
        nodes = [Node("a", "idle", "gpu:a100:2", ""), Node("b", "idle", "gpu:a100:1,gpu:k80:1", "gpu:a100:1(IDX:0)")]
        whole = take(nodes, SETTINGS, "cluster")
        assert list(whole.devices) == ["SLURM-cluster-a-0", "SLURM-cluster-a-1", "SLURM-cluster-b-0"]
        assert (whole.unknown, whole.used) == ({"k80"}, {"a": set(), "b": {0}})
        half = take([Node("a", "down*", "gpu:a100:2", ""), nodes[1]], SETTINGS, "cluster")
        assert half.reports == whole.reports[2:]
        assert half.unfit == {"a": "down*"}

    def test_it_says_how_many_do_not_fit_into_one_host(self):
        nodes = [Node(f"n{number:03}", "idle", "gpu:a100:8", "") for number in range(40)]
        found = take(nodes, SETTINGS, "cluster")
        assert (len(found.reports), found.left_out) == (MOST, 320 - MOST)


class TestJudgement:
    @pytest.mark.parametrize(
        ("state", "said", "fault", "code"),
        [
            ("NODE_FAIL", "", "host", "node_failed"),
            ("BOOT_FAIL", "", "host", "node_failed"),
            ("PREEMPTED", "", "host", "preempted"),
            ("CANCELLED", "", "host", "slurm_cancelled"),
            (
                "CANCELLED",
                "*** JOB 9 ON n2 CANCELLED AT 2026-11-20T07:01:38 DUE TO PREEMPTION ***",
                "host",
                "preempted",
            ),
            ("", "slurmstepd: error: *** JOB 9 ON n2 CANCELLED AT X DUE TO NODE FAILURE ***", "host", "node_failed"),
            ("OUT_OF_MEMORY", "", "user", "out_of_memory"),
            ("FAILED", "slurmstepd-n2: error: Exceeded job memory limit", "user", "out_of_memory"),
            ("TIMEOUT", "", "user", "time_limit"),
            ("FAILED", "", "host", "supervisor_lost"),
            ("COMPLETED", "", "host", "supervisor_lost"),
            ("", "", "host", "supervisor_lost"),
        ],
    )
    def test_it_tells_the_nodes_fault_from_the_users(self, state, said, fault, code):
        verdict = states.judge(state, "n2", said)
        assert (verdict.fault, verdict.code) == (fault, code)

    def test_only_a_lost_node_may_go_on(self):
        assert states.may_still_run("NODE_FAIL")
        assert not any(states.may_still_run(state) for state in ("CANCELLED", "FAILED", "PREEMPTED", "COMPLETED"))


class TestBatch:
    def test_it_asks_for_the_gpus_of_a_node_and_for_more_time_than_the_task_has(self, tmp_path):
        attempt = an_attempt(tmp_path, payload={"script": "true", "memory_mib": 1000}, limit_ms=3_600_000)
        shape = batch.shape(attempt, SETTINGS, node="n7", type_="a100", gpus=2)
        given = batch.options(shape, SETTINGS, name="gaas-x.1", comment="gaas:s", root=tmp_path, attempts=1)
        assert {"--gres=gpu:a100:2", "--nodelist=n7", "--cpus-per-task=2", "--mem=1256M"} <= set(given)
        assert {"--no-requeue", "--export=NIL", "--job-name=gaas-x.1", "--comment=gaas:s"} <= set(given)
        [minutes] = [int(option.partition("=")[2]) for option in given if option.startswith("--time=")]
        assert 62 < minutes < 70
        assert not any(option.startswith("--array") for option in given)

    def test_a_burst_is_an_array_whose_elements_find_their_folders(self, tmp_path):
        attempts = [an_attempt(tmp_path, id=f"0196a000-0000-7000-8000-00000000000{n}") for n in range(3)]
        shape = batch.shape(attempts[0], SETTINGS, node="", type_="gpu", gpus=0)
        assert "--array=0-2" in batch.options(shape, SETTINGS, name="n", comment="c", root=tmp_path, attempts=3)
        script = batch.script(SETTINGS, library=tmp_path, attempts=attempts)
        assert all(str(attempt.folder) in script for attempt in attempts)

    def test_it_remembers_a_place_over_a_restart(self, tmp_path):
        attempt = an_attempt(tmp_path)
        assert (batch.place_of(attempt), batch.tries(attempt), batch.job_of(attempt)) == (None, 0, None)
        batch.keep_place(attempt, batch.Place("gaas-x.1", 4))
        batch.keep_place(attempt, batch.Place("gaas-x.2", None))
        assert (batch.place_of(attempt), batch.tries(attempt)) == (batch.Place("gaas-x.2", None), 2)
        assert batch.Place("n", 4).key("77") == "77_4"
        assert batch.Place("n", None).key("77") == "77"


class TestNode:
    def test_only_one_job_gets_an_attempt(self, tmp_path):
        first = Given("12_0", "12", "n1", [0], "0")
        assert claim(tmp_path, first)
        assert not claim(tmp_path, Given("13", "13", "n2", [1], "0"))
        assert durable.read_json(tmp_path / "ready.json") == {"key": "12_0", "number": "12", "node": "n1", "gpus": [0]}
        assert [path.name for path in tmp_path.iterdir()] == ["ready.json"]

    def test_it_reads_what_slurm_gave(self):
        environment = {"SLURM_JOB_ID": "15", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}
        environment |= {"SLURMD_NODENAME": "n1", "SLURM_JOB_GPUS": "1,3", "CUDA_VISIBLE_DEVICES": "0,1"}
        assert Given.read(environment) == Given("12_3", "15", "n1", [1, 3], "0,1")
        assert Given.read({"SLURM_JOB_ID": "15"}) == Given("15", "15", "", [], "")

    def test_a_lease_counts_from_the_look_before_its_news(self, tmp_path):
        path = tmp_path / "lease.json"
        durable.write_json(path, {"deadline_boottime": 1.0, "left_seconds": 9000})
        lease = Lease(path)
        now = clock.boottime()
        assert lease.look(now) == float("-inf")  # what lay there may be old: it grants nothing
        lease.grant(30, since=now)
        assert lease.look(now + 5) == now + 30
        durable.write_json(path, {"deadline_boottime": 2.0, "left_seconds": 30})
        assert lease.look(now + 20) == now + 5 + 30
        assert lease.look(now + 25) == now + 35  # no news: nothing is prolonged
        durable.write_json(path, {"deadline_boottime": 3.0, "left_seconds": "long"})
        assert lease.look(now + 26) == now + 35
        path.unlink()
        assert lease.look(now + 27) == now + 35


class TestSamples:
    DEVICES: ClassVar = {f"G{n}-{i}": Device(f"G{n}-{i}", f"n{n}", "a100", i) for n in (1, 2) for i in range(4)}

    def told(self, folder, uuids, *, given, gpus, elapsed_ms=60_000):
        attempt = an_attempt(folder, gpu_uuids=uuids)
        durable.write_json(attempt.folder / "ready.json", {"key": "7", "number": "7", "node": "n1", "gpus": given})
        durable.write(attempt.folder / "elapsed", b"60000")
        durable.write_json(attempt.folder / samples.FILE, {"elapsed_ms": elapsed_ms, "gpus": gpus})
        return samples.measured(attempt, self.DEVICES)

    @pytest.mark.parametrize(
        ("uuids", "given", "read"),
        [
            (["G1-0", "G1-1"], [0, 1], {"G1-0": 0, "G1-1": 1}),
            (["G1-0", "G1-1"], [1, 3], {"G1-0": 3, "G1-1": 1}),
            (["G2-0"], [2], {"G2-0": 2}),
            (["G1-0"], [], {}),
            (["gone"], [1], {"gone": 1}),
            (["G1-1"], [1, 2], {"G1-1": 1}),
            (["G1-0"], [True, "1", None, 0], {"G1-0": 0}),
        ],
    )
    def test_they_stand_for_the_gpus_that_were_assigned(self, tmp_path, uuids, given, read):
        gpus = {str(index): {"utilisation": index} for index in range(4)}
        found = self.told(tmp_path, uuids, given=given, gpus=gpus)
        assert {sample["gpu"]: sample["utilisation"] for sample in found} == read

    @pytest.mark.parametrize("elapsed_ms", [40_000, 80_000, None, "1", 1e300])
    def test_old_ones_are_not_told(self, tmp_path, elapsed_ms):
        gpus = {"0": {"utilisation": 1}}
        assert self.told(tmp_path, ["G1-0"], given=[0], gpus=gpus, elapsed_ms=elapsed_ms) == []

    @pytest.mark.parametrize("gpus", [None, [], {"0": None}, {"0": []}, {"0": {}}, {"1": {"utilisation": 1}}])
    def test_what_is_none_is_none(self, tmp_path, gpus):
        assert self.told(tmp_path, ["G1-0"], given=[0], gpus=gpus) == []

    def test_only_numbers_that_a_server_takes_are_told(self, tmp_path):
        values = {"utilisation": float("nan"), "memory_mib": -1, "power_w": True, "gpu": "G2-0", "foreign_processes": 9}
        found = self.told(tmp_path, ["G1-0"], given=[0], gpus={"0": values | {"temperature_c": 50}})
        assert found == [{"gpu": "G1-0", "temperature_c": 50}]

    def test_of_simulated_gpus_there_is_nothing_to_measure(self):
        given = Given("7", "7", "n1", [0, 2], "0,1")
        order = Order(limit_ms=1, lease_path="")
        assert measurable(order, given, "/dev/nvidia{index}") == {0: "/dev/nvidia0", 2: "/dev/nvidia2"}
        assert measurable(replace(order, simulated_gpus=2), given, "/dev/nvidia{index}") == {}


class TestLibrary:
    def test_a_node_asks_nvml_with_nothing_but_a_python(self, tmp_path):
        code = "from gpus.agent import metrics; from gpus.agent.slurm import node; print(metrics.behind(['/dev/none']))"
        done = subprocess.run(
            [sys.executable, "-S", "-P", "-c", code],
            env={"PYTHONPATH": str(library.lay_out(tmp_path))},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("{}\n", "")

    def test_it_lays_the_package_out_once(self, tmp_path):
        library_ = library.lay_out(tmp_path)
        assert library.lay_out(tmp_path) == library_
        assert (library_ / "gpus" / "agent" / "slurm" / "node.py").is_file()
        assert (library_ / "gpus" / "__init__.py").read_bytes() == b""
        assert [path.name for path in (tmp_path / "lib").iterdir()] == [library_.name]
