"""The Slurm executor on a real cluster of three nodes: the real agent, and a peer that speaks the protocol."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpus.agent import durable
from gpus.agent.executors import bubblewrap
from gpus.agent.protocol import Timers
from gpus.agent.slurm import samples
from gpus.tests.agent.host import Host, is_running, mark, wait_for
from gpus.tests.agent.peer import Peer, Work
from gpus.tests.agent.test_nvml import SOURCE as FAKE_NVML
from gpus.tests.agent.test_stop import DAEMON, FORK_LOOP
from tests.peers import Missing
from tests.systems import slurm as clusters
from tests.systems.conftest import not_run
from tests.systems.slurm import GPUS_PER_NODE, NODES, Slurm

PATIENCE = 180

OUT_OF_MEMORY = """#!/usr/bin/env python3
import time
held = []
for _ in range(60):
    held.append(bytearray(16 * 1024 * 1024))
    time.sleep(0.05)
time.sleep(60)
"""


class SlurmHost(Host):
    """An agent that stands for the partition."""

    def __init__(self, peer: Peer, folder: Path, slurm: Slurm, mode: str = "unsandboxed", **section: object):
        folder.mkdir(exist_ok=True)
        super().__init__(peer, folder, mode=mode)
        self.slurm = slurm
        self.config.write_text(self.config.read_text() + slurm.section(nodes_seconds=1.0, **section))

    def run(self, *flags: str) -> SlurmHost:
        super().run(*flags)
        self.gpus()
        return self

    def gpus(self) -> list[dict[str, Any]]:
        """Wait until all GPUs are reported, and give them."""
        number = len(NODES) * GPUS_PER_NODE
        self.peer.until(lambda: len(self.peer.syncs[-1]["gpus"]) == number, PATIENCE, f"{number} GPUs; {self.said()}")
        return list(self.peer.syncs[-1]["gpus"])

    @property
    def attempts(self) -> Path:
        [shared] = [folder for folder in self.slurm.shared.glob("*/attempts") if self._session in str(folder)]
        return shared

    @property
    def _session(self) -> str:
        return (self.state / "session").read_text().strip()

    def folder_of(self, work: Work) -> Path:
        return self.attempts / work.assignment.id

    def offer(self, script: str, *, gpus: list[str] | None = None, **given: Any) -> Work:
        payload = {"script": script, **given.pop("payload", {})}
        return self.peer.offer(executor="slurm", payload=payload, gpu_uuids=gpus or [], **given)

    def key(self, work: Work) -> str:
        """Wait until the attempt's job is known and give what scancel takes."""
        path = self.folder_of(work) / "job.json"
        wait_for(path.exists, PATIENCE, f"the job; {self.said()}")
        return str((durable.read_json(path) or {})["key"])

    def until_running(self, work: Work) -> None:
        self.peer.until(lambda: b"ready" in work.log, PATIENCE, f"the program; {self.said()}")

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        for job in self.slurm.jobs():
            self.slurm.command("scancel", "--signal=KILL", "--full", job["key"], check=False)
            self.slurm.command("scancel", job["key"], check=False)
        wait_for(lambda: not self.slurm.command("squeue", "-h").strip(), PATIENCE, "the queue to be empty")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    try:
        with clusters.cluster() as slurm:
            yield slurm
            assert not [job for job in slurm.jobs() if job["state"] in ("PENDING", "RUNNING")]
    except Missing as why:
        not_run(f"slurm: {why}")


Make = Callable[..., SlurmHost]


@pytest.fixture
def make(cluster: Slurm, tmp_path: Path) -> Iterator[Make]:
    """Make hosts of this test's own, each with a peer of its own."""
    made: list[SlurmHost] = []

    def one(*, timers: Timers | None = None, **how: Any) -> SlurmHost:
        peer = Peer(timers) if timers else Peer()
        made.append(SlurmHost(peer, tmp_path / f"host-{len(made)}", cluster, **how))
        return made[-1]

    yield one
    for host in made:
        host.close()
        host.peer.close()


@pytest.fixture(scope="module")
def running(cluster: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmHost]:
    """An agent at work that tests share."""
    peer = Peer()
    host = SlurmHost(peer, tmp_path_factory.mktemp("running"), cluster)
    host.run()
    yield host
    host.close()
    peer.close()


def ended(host: SlurmHost, work: Work) -> dict[str, Any]:
    try:
        return dict(host.peer.until_finished(work, PATIENCE))
    except AssertionError as error:
        raise AssertionError(f"{error}\n{host.said()}\n{host.slurm.jobs()}") from error


class TestRun:
    def test_it_offers_the_gpus_of_all_nodes(self, running):
        gpus = running.gpus()
        assert [gpu["uuid"] for gpu in gpus] == [f"SLURM-gaastest-{n}-{i}" for n in NODES for i in range(GPUS_PER_NODE)]
        assert {(gpu["model"], gpu["vram_mib"], gpu["is_simulated"]) for gpu in gpus} == {("Toy GPU", 24576, True)}
        assert running.peer.syncs[-1]["facts"]["executors"] == ["slurm"]
        assert running.peer.syncs[-1]["boot_id"] == f"slurm-{running._session}"

    def test_it_runs_on_the_node_of_the_gpus_and_tells_the_end(self, running):
        gpus = [gpu["uuid"] for gpu in running.gpus() if "-n2-" in gpu["uuid"]]
        script = 'echo "$CUDA_VISIBLE_DEVICES $GAAS_SIMULATED_GPUS"; echo \'{"x": 1}\' > "$GAAS_OUTPUT/result.json"'
        work = running.offer(script, gpus=gpus)
        end = ended(running, work)
        assert (end["outcome"], end["fault"], end["exit_code"], end["result"]) == ("SUCCEEDED", "none", 0, {"x": 1})
        assert bytes(work.log) == b"0,1 2\n"
        assert [job["node"] for job in running.slurm.jobs() if work.assignment.id in job["name"]] == ["n2"]
        wait_for(lambda: not running.folder_of(work).exists(), what="the folder to be removed")

    def test_it_tells_a_failure_with_its_exit_code(self, running):
        work = running.offer("echo gone wrong; exit 7")
        end = ended(running, work)
        assert (end["outcome"], end["fault"], end["exit_code"], end["code"]) == ("FAILED", "user", 7, "exit_code")
        assert bytes(work.log) == b"gone wrong\n"

    def test_it_keeps_a_time_limit_of_seconds(self, running):
        this = mark()
        work = running.offer(f"echo ready; sleep {this}", limit_ms=2000)
        end = ended(running, work)
        assert (end["outcome"], end["fault"], end["code"]) == ("TIMED_OUT", "user", "time_limit")
        assert end["elapsed_ms"] >= 2000
        assert not is_running(this)

    def test_it_ends_what_uses_too_much_memory(self, running):
        work = running.offer(OUT_OF_MEMORY, payload={"memory_mib": 96})
        end = ended(running, work)
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "user", "out_of_memory")

    def test_it_gives_the_program_nothing_of_the_agent_or_of_slurm(self, make):
        if (why := bubblewrap.unusable("bwrap")) is not None:
            pytest.skip(f"bubblewrap cannot be used here: {why}")
        host = make(mode="bubblewrap").run()
        work = host.offer(f"env | grep -c SLURM; ls {host.slurm.folder} 2>&1; echo $HOME")
        assert ended(host, work)["outcome"] == "SUCCEEDED"
        assert b"No such file" in work.log
        assert bytes(work.log).startswith(b"0\n")
        assert bytes(work.log).endswith(b"/task/work\n")

    def test_it_streams_the_log_while_the_program_runs(self, running):
        go = running.folder / "go"
        work = running.offer(f"echo ready; until [ -e {go} ]; do sleep 0.1; done; echo done")
        running.until_running(work)
        assert bytes(work.log) == b"ready\n"
        go.touch()
        assert ended(running, work)["outcome"] == "SUCCEEDED"
        assert bytes(work.log) == b"ready\ndone\n"

    def test_it_shows_why_a_job_waits_and_cancels_it_there(self, running):
        [gpu] = [gpu["uuid"] for gpu in running.gpus() if gpu["uuid"].endswith("n3-0")]
        foreign = running.slurm.command(
            "sbatch", "--parsable", "--gres=gpu:toy:2", "--nodelist=n3", "--wrap=sleep 600", "--output=/dev/null"
        ).strip()
        wait_for(lambda: running.slurm.states()["n3"] == "mixed", PATIENCE, "the job of somebody else")
        work = running.offer("echo never", gpus=[gpu])

        def shown() -> str:
            held = [one for one in running.peer.syncs[-1]["attempts"] if one["id"] == work.assignment.id]
            return str((held[0].get("phase") or {}).get("text", "")) if held else ""

        running.peer.until(lambda: "waits in Slurm's queue" in shown(), PATIENCE, "the reason")
        running.peer.cancel(work)
        end = ended(running, work)
        assert (end["outcome"], work.starts) == ("CANCELLED", 0)
        running.slurm.command("scancel", foreign)
        wait_for(lambda: not running.slurm.command("squeue", "-h").strip(), PATIENCE, "the queue to be empty")


@pytest.fixture(scope="module")
def measuring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python whose NVML is a FAKE: it shows two GPUs that are not there, as each node of the cluster has."""
    if shutil.which("gcc") is None:
        not_run("slurm: gcc, to build a fake NVML, is missing")
    folder = tmp_path_factory.mktemp("nvml")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(FAKE_NVML)], check=True)
    gpus = [f"gpu|GPU-{number}|Toy|24576|1024|{37 + number}|312500|54|0|0\n" for number in range(GPUS_PER_NODE)]
    (folder / "told").write_text("".join(gpus))
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={folder} FAKE_NVML={folder}/told exec python3 "$@"\n')
    python.chmod(0o755)
    return python


class TestSamples:
    def test_what_a_node_measures_is_told_of_the_gpus_of_the_attempt(self, make, measuring):
        host = make(python=str(measuring), simulated=False).run()
        gpus = [gpu["uuid"] for gpu in host.gpus() if "-n2-" in gpu["uuid"]]
        work = host.offer("echo ready; sleep 300", gpus=gpus)

        def told() -> list[dict[str, Any]]:
            each = [sample for sync in host.peer.syncs for sample in sync["metrics"] if "utilisation" in sample]
            return each[:GPUS_PER_NODE]

        host.peer.until(lambda: len(told()) == GPUS_PER_NODE, PATIENCE, f"samples; {host.said()}")
        rest = {"memory_mib": 1024, "power_w": 312.5, "temperature_c": 54}
        assert told() == [{"gpu": uuid, "utilisation": 37 + n, **rest} for n, uuid in enumerate(gpus)]
        host.peer.cancel(work)
        ended(host, work)

    def test_of_simulated_ones_nothing_is_measured(self, make, measuring):
        host = make(python=str(measuring)).run()
        gpus = [gpu["uuid"] for gpu in host.gpus() if "-n2-" in gpu["uuid"]]
        work = host.offer("echo ready; sleep 300", gpus=gpus)
        host.until_running(work)
        elapsed = host.folder_of(work) / "elapsed"
        wait_for(lambda: elapsed.exists() and int(elapsed.read_text()) > 2000, PATIENCE, "the time of a sample")
        assert not (host.folder_of(work) / samples.FILE).exists()
        host.peer.cancel(work)
        ended(host, work)


class TestCancel:
    def test_it_lets_the_program_save_first(self, running):
        work = running.offer('trap "echo saved; exit 0" TERM; echo ready; while :; do sleep 0.05; done')
        running.until_running(work)
        running.peer.cancel(work, grace_ms=5000)
        assert ended(running, work)["outcome"] == "CANCELLED"
        assert bytes(work.log).endswith(b"saved\n")

    @pytest.mark.parametrize("program", [DAEMON.replace("AFTER", "time.sleep(60)"), FORK_LOOP], ids=["daemon", "forks"])
    def test_no_process_survives(self, running, program):
        this = mark()
        work = running.offer(program.replace("MARK", this))
        running.until_running(work)
        running.peer.cancel(work, grace_ms=200)
        assert ended(running, work)["outcome"] == "CANCELLED"
        assert not is_running(this)
        marks = (work.assignment.id, this)

        def left() -> list[str]:
            return [line for _, line in running.slurm.processes() if any(sign in line for sign in marks)]

        wait_for(lambda: not left(), PATIENCE, "its supervisor to be gone")

    def test_a_job_that_somebody_cancelled_is_not_the_users_fault(self, running):
        this = mark()
        work = running.offer(f"echo ready; sleep {this}")
        running.until_running(work)
        running.slurm.command("scancel", running.key(work))
        end = ended(running, work)
        assert (end["outcome"], end["fault"]) == ("FAILED", "host")
        assert end["code"] in ("slurm_cancelled", "slurm_ended")
        assert not is_running(this)


class TestBurst:
    def test_attempts_of_one_shape_are_one_array(self, running):
        jobs = {job["key"] for job in running.slurm.jobs()}
        with running.peer.lock:  # none is heard of before all are there
            works = [running.offer(f"echo {number}") for number in range(8)]
        for number, work in enumerate(works):
            assert ended(running, work)["outcome"] == "SUCCEEDED"
            assert bytes(work.log) == f"{number}\n".encode()
            assert work.starts == 1
        new = [job for job in running.slurm.jobs() if job["key"] not in jobs]
        assert len(new) == 8
        # One, but for a machine so busy that the assignments trickle in.
        assert len({job["array"] for job in new}) < 8


class TestRecovery:
    def test_a_new_agent_takes_up_what_runs(self, make):
        host = make().run()
        work = host.offer("echo ready; sleep 3; echo done")
        host.until_running(work)
        host.kill()
        time.sleep(1)
        host.run()
        assert ended(host, work)["outcome"] == "SUCCEEDED"
        assert bytes(work.log) == b"ready\ndone\n"
        assert (work.starts, host.starts(work)) == (1, 1)

    def test_a_new_agent_takes_up_what_waits(self, make):
        host = make().run()
        host.slurm.command("scontrol", "update", f"PartitionName={clusters.PARTITION}", "State=DOWN")
        try:
            work = host.offer("echo ready")
            key = host.key(work)
            host.kill()
        finally:
            host.slurm.command("scontrol", "update", f"PartitionName={clusters.PARTITION}", "State=UP")
        host.run()
        assert ended(host, work)["outcome"] == "SUCCEEDED"
        assert [job["key"] for job in host.slurm.jobs() if work.assignment.id in job["name"]] == [key]
        assert (work.starts, host.starts(work)) == (1, 1)

    @pytest.mark.long
    def test_a_restart_of_the_controller_hurts_nothing(self, make):
        host = make().run()
        one = host.offer("echo ready; sleep 6; echo done")
        host.until_running(one)
        host.slurm.kill("slurmctld")
        time.sleep(1)
        other = host.offer("echo ready")
        time.sleep(1)
        host.slurm.start("slurmctld")
        assert ended(host, one)["outcome"] == "SUCCEEDED"
        assert bytes(one.log) == b"ready\ndone\n"
        assert ended(host, other)["outcome"] == "SUCCEEDED"
        assert (host.starts(one), host.starts(other)) == (1, 1)

    @pytest.mark.parametrize("by", ["operator", pytest.param("silence", marks=pytest.mark.long)])
    def test_a_lost_node_is_the_hosts_fault_and_its_program_is_ended(self, make, by):
        host = make().run()
        this = mark()
        [gpu] = [gpu["uuid"] for gpu in host.gpus() if gpu["uuid"].endswith("n1-0")]
        work = host.offer(f"echo ready; sleep {this}", gpus=[gpu])
        host.until_running(work)
        host.slurm.kill("n1")
        try:
            if by == "operator":  # who need not wait until Slurm misses the node
                host.slurm.command("scontrol", "update", "NodeName=n1", "State=DOWN", "Reason=lost")
            end = ended(host, work)
            assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "host", "node_failed")
            assert not is_running(this)
            host.peer.until(lambda: len(host.peer.syncs[-1]["gpus"]) == 4, PATIENCE, "its GPUs to be gone")
        finally:
            host.slurm.start("n1")
        host.gpus()

    @pytest.mark.parametrize("how", ["said nothing", "agent killed"])
    def test_a_job_whose_number_was_lost_is_found_by_its_name(self, make, tmp_path, how):
        tools = tmp_path / "tools"
        tools.mkdir()
        fake, done = tools / "sbatch", tmp_path / "done"
        wait = "sleep 5; exit 1" if how == "agent killed" else "exit 1"
        fake.write_text(
            f'#!/bin/sh\nif [ -e {done} ]; then exec /usr/bin/sbatch "$@"; fi\n/usr/bin/sbatch "$@" >{done}; {wait}\n'
        )
        fake.chmod(0o755)
        host = make(bin_dir=str(tools)).run()
        work = host.offer("echo ready")
        wait_for(lambda: done.exists() and done.read_text(), PATIENCE, "the lost answer")
        if how == "agent killed":
            host.kill()
            host.run()
        assert ended(host, work)["outcome"] == "SUCCEEDED"
        assert [job["name"] for job in host.slurm.jobs() if work.assignment.id in job["name"]] == [
            f"gaas-{work.assignment.id}.1"
        ]
        assert (work.starts, host.starts(work)) == (1, 1)

    @pytest.mark.long
    def test_a_node_without_news_ends_its_program(self, make):
        host = make(timers=Timers(lease_seconds=2, fence_seconds=4, sync_busy_seconds=0.5, sync_idle_seconds=0.5)).run()
        this = mark()
        work = host.offer(f"echo ready; sleep {this}")
        host.until_running(work)
        host.kill()
        wait_for(lambda: not is_running(this), PATIENCE, "the node to end it")
        exit_path = host.folder_of(work) / "exit.json"
        wait_for(exit_path.exists, PATIENCE, "the end on record")
        host.run()
        end = ended(host, work)
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "host", "fenced")

    def test_a_job_of_ours_that_belongs_to_nothing_is_cancelled(self, make):
        host = make().run()
        number = host.slurm.command(
            "sbatch", "--parsable", "--job-name=gaas-00000000.1", f"--comment=gaas:{host._session}", "--wrap=sleep 999"
        ).strip()
        other = host.slurm.command("sbatch", "--parsable", "--job-name=gaas-1.1", "--wrap=sleep 999").strip()
        host.offer("sleep 1000")  # the queue is read often only while something is held

        def states() -> dict[str, str]:
            return {job["key"]: job["state"] for job in host.slurm.jobs()}

        wait_for(lambda: states()[number] == "CANCELLED", PATIENCE, "the stranger to be cancelled")
        assert states()[other] in ("PENDING", "RUNNING")


class TestDoctor:
    def test_it_finds_nothing_wrong_with_a_sound_cluster(self, make):
        said = _doctor(make())
        assert "ok    slurm      gaastest, Slurm" in said
        assert "ok    partition  gpu: 6 GPUs on 3 nodes" in said
        assert "found the shared folder, Python" in said

    @pytest.mark.long
    def test_it_names_what_mends_a_fault(self, make):
        assert "mend it: scontrol ping" in _doctor(make(conf="/nonexistent/slurm.conf", command_seconds=3))
        assert "mend it: install -d" in _doctor(make(shared_dir="/nonexistent/shared"))
        assert "is not Python 3.11" in _doctor(make(python="/bin/false"))


def _doctor(host: SlurmHost) -> str:
    with contextlib.suppress(FileExistsError):
        host.state.mkdir()
    done = subprocess.run(host.command("doctor"), capture_output=True, text=True, check=False, timeout=PATIENCE)
    return done.stdout
