"""GPUs as NVML shows them, through its real C interface to a library that is a FAKE (nvml/fake_nvml.c).

No GPU is touched: what is proven here is what the agent asks, how it reads the structures, and what it makes of
errors; that a real driver answers so, only a host with a GPU can show.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .host import ROOT, Host, wait_for

SOURCE = Path(__file__).parent / "nvml" / "fake_nvml.c"
H100 = "gpu|GPU-a|NVIDIA H100 80GB HBM3|81559|1024|37|312500|54|0|0"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    if shutil.which("gcc") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("gcc is missing")
        pytest.skip("gcc is missing: apt install gcc")
    built = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(built), str(SOURCE)], check=True)
    return built.parent


@pytest.fixture
def nvml(library, tmp_path, monkeypatch):
    """A function that has this machine show GPUs: to what is started from now on, not to the tests themselves."""
    told = tmp_path / "nvml"
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library))
    monkeypatch.setenv("FAKE_NVML", str(told))

    def show(*lines: str) -> None:
        # Whole at any moment: a running agent reads it again and again.
        (tmp_path / "new").write_text("".join(f"{line}\n" for line in lines))
        (tmp_path / "new").replace(told)

    show(H100)
    return show


def asked(code: str):
    """Run a piece of the agent in a process that loads the library, and read what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", f"import json, dataclasses, os\nfrom gpus.agent import devices, metrics\n{code}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def found() -> dict:
    return asked("print(json.dumps(dataclasses.asdict(devices.find([], ''))))")


def sampled(supervisors: str = "[]", attempts: str = "[]", before: str = "") -> list[dict]:
    return asked(f"{before}\nprint(json.dumps(metrics.gpus({supervisors}, {attempts})))")


class TestDevices:
    def test_each_gpu_is_listed_as_it_is(self, nvml):
        nvml(H100, "gpu|GPU-b|NVIDIA A10|23028|0|0|0|40|0|0")
        first, second = found()["gpus"]
        assert first == {
            "uuid": "GPU-a",
            "index": 0,
            "model": "NVIDIA H100 80GB HBM3",
            "vram_mib": 81559,
            "compute_capability": "9.0",
            "driver": "550.54.15",
            "is_simulated": False,
        }
        assert (second["uuid"], second["index"]) == ("GPU-b", 1)
        assert found()["nodes"] == {"GPU-a": "/dev/nvidia0", "GPU-b": "/dev/nvidia1"}

    def test_slices_stand_for_a_gpu_that_is_cut(self, nvml):
        nvml(
            H100.removesuffix("0") + "1",
            "mig|0|MIG-1|NVIDIA H100 80GB HBM3 MIG 3g.40gb|40448|10|2|0",
            "mig|0|MIG-2|NVIDIA H100 80GB HBM3 MIG 1g.10gb|9984|0|9|0",
        )
        slices = found()["gpus"]
        assert [(gpu["uuid"], gpu["vram_mib"], gpu["compute_capability"]) for gpu in slices] == [
            ("MIG-1", 40448, "9.0"),
            ("MIG-2", 9984, "9.0"),
        ]
        assert slices[0]["model"].endswith("MIG 3g.40gb")
        assert set(found()["nodes"].values()) == {"/dev/nvidia0"}

    def test_a_slice_is_opened_by_its_own_capabilities(self, nvml, tmp_path):
        nvml(H100.removesuffix("0") + "1", "mig|0|MIG-1|H100 MIG 3g.40gb|40448|10|2|0")
        for path, minor in (("gpu0/mig/gi2/access", 21), ("gpu0/mig/gi2/ci0/access", 22)):
            (tmp_path / "caps" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "caps" / path).write_text(f"DeviceFileMinor: {minor}\nDeviceFileMode: 292\n")
        nodes = asked(
            f"devices.CAPABILITIES = devices.Path({str(tmp_path / 'caps')!r})\n"
            "print(json.dumps(devices.find([], '').nodes_of(['MIG-1'])))"
        )
        assert nodes[:3] == ["/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap21", "/dev/nvidia-caps/nvidia-cap22"]

    def test_one_that_is_lost_does_not_hide_the_others(self, nvml):
        nvml("gpu|GPU-x|NVIDIA H100|81559|0|0|0|0|15|0", H100)
        shown = found()
        assert [gpu["uuid"] for gpu in shown["gpus"]] == ["GPU-a"]
        assert "GPU is lost" in shown["problem"]
        assert "reboot" in shown["mend"]

    @pytest.mark.parametrize(
        ("code", "mend"), [(18, "reboot"), (9, "modprobe nvidia"), (4, "usermod")], ids=["mismatch", "driver", "rights"]
    )
    def test_what_the_driver_lacks_is_named_with_what_mends_it(self, nvml, code, mend):
        nvml(f"init|{code}")
        assert mend in found()["mend"]
        assert found()["gpus"] == []
        assert sampled() == []

    def test_a_gpu_to_be_cut_that_has_no_slice_is_a_fault(self, nvml):
        nvml(H100.removesuffix("0") + "1")
        assert found()["gpus"] == []
        assert "nvidia-smi mig" in found()["mend"]


class TestMetrics:
    def test_a_gpu_is_measured(self, nvml):
        assert sampled() == [
            {
                "gpu": "GPU-a",
                "utilisation": 37,
                "memory_mib": 1024,
                "power_w": 312.5,
                "temperature_c": 54,
                "foreign_processes": 0,
            }
        ]

    def test_a_whole_one_is_found_by_its_device_node(self, nvml):
        nvml(H100, H100.replace("GPU-a", "GPU-b").replace("37", "5"), H100.replace("GPU-a", "GPU-c")[:-1] + "1")
        found = asked("print(json.dumps(metrics.behind(['/dev/nvidia1', '/dev/nvidia2', '/dev/nvidia7'])))")
        assert found == {"/dev/nvidia1": {"utilisation": 5, "memory_mib": 1024, "power_w": 312.5, "temperature_c": 54}}

    def test_a_slice_says_only_what_is_its_own(self, nvml):
        nvml(H100.removesuffix("0") + "1", "mig|0|MIG-1|H100 MIG 3g.40gb|40448|10|2|0")
        assert sampled() == [{"gpu": "MIG-1", "memory_mib": 10, "foreign_processes": 0}]

    def test_processes_of_others_are_counted_and_those_of_attempts_are_not(self, nvml):
        nvml(H100, f"process|GPU-a|{os.getpid()}", "process|GPU-a|1")
        assert sampled()[0]["foreign_processes"] == 2
        # Its parent stands for a supervisor here: this test's process is below it.
        assert sampled(supervisors=f"[{os.getppid()}]")[0]["foreign_processes"] == 1

    def test_a_process_below_no_supervisor_is_known_by_its_attempts_id(self, nvml):
        child = subprocess.Popen(["sleep", "60"], env=os.environ | {"GAAS_ATTEMPT_ID": "attempt-1"})
        try:
            nvml(H100, f"process|GPU-a|{child.pid}")
            assert sampled()[0]["foreign_processes"] == 1
            assert sampled(attempts="['attempt-1']")[0]["foreign_processes"] == 0
        finally:
            child.kill()
            child.wait()


class TestAgent:
    def test_its_syncs_carry_gpus_and_measurements(self, nvml, host: Host):
        host.run("--simulated-gpus", "0")
        sync = host.peer.syncs[0]  # the next ones measure nothing for a while
        assert [gpu["uuid"] for gpu in sync["gpus"]] == ["GPU-a"]
        assert sync["metrics"][0]["utilisation"] == 37

    def test_its_own_programs_are_not_foreign(self, nvml, host: Host):
        host.run("--simulated-gpus", "0")
        work = host.peer.offer(payload={"script": "sleep 60"}, gpu_uuids=["GPU-a"])
        supervisor = host.started(work)["supervisor"]
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children")
        wait_for(lambda: children.read_text().split(), what="the program")
        program = children.read_text().split()[0]
        nvml(H100, f"process|GPU-a|{program}", "process|GPU-a|1")

        counted = sampled(supervisors=f"[{supervisor}]")

        assert counted[0]["foreign_processes"] == 1


class TestDoctor:
    def examined(self, host: Host, *flags: str) -> tuple[int, dict[str, dict]]:
        done = subprocess.run(
            host.command("doctor", "--json", *flags), cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.returncode, {finding["about"]: finding for finding in json.loads(done.stdout)["findings"]}

    def test_a_mismatch_of_versions_is_a_fault(self, nvml, host):
        nvml("init|18")
        code, about = self.examined(host)
        assert code == 1
        assert not about["gpus"]["is_good"]
        assert "reboot" in about["gpus"]["mend"]

    def test_a_lost_gpu_is_a_fault_though_others_answer(self, nvml, host):
        nvml("gpu|GPU-x|NVIDIA H100|81559|0|0|0|0|15|0", H100)
        done = subprocess.run(host.command("doctor"), cwd=ROOT, capture_output=True, text=True, check=False)
        assert "FAULT gpus" in done.stdout
        assert "GPU is lost" in done.stdout
        assert "ok    gpus       NVIDIA H100 80GB HBM3" in done.stdout
