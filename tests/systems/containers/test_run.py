"""What a task in a container runs, leaves and is told, by a real agent on a real Docker engine and on real Podman."""

from __future__ import annotations

import hashlib
import subprocess

import pytest

from gpus.agent.executors.engine import Engine
from gpus.tests.agent.host import Host, wait_for
from tests.systems.containers.hosts import PATIENCE, containers_of, end_of, go_on, offer, said, until_said


class TestRun:
    def test_it_runs_a_script_and_takes_its_result(self, shared: Host, engine: Engine) -> None:
        script = 'echo hello; echo oops >&2; pwd; echo "{\\"loss\\": 0.5}" > $GAAS_OUTPUT/result.json'
        work = offer(shared, script)
        end = end_of(shared, work)
        assert (end["outcome"], end["fault"], end["exit_code"], end["code"]) == ("SUCCEEDED", "none", 0, "")
        assert sorted(said(work).split()) == ["/task/work", "hello", "oops"]
        assert end["log_sha256"] == hashlib.sha256(work.log).hexdigest()
        assert end["result"] == {"loss": 0.5}
        assert (work.starts, shared.starts(work)) == (1, 1)
        wait_for(lambda: not shared.folder_of(work).exists(), what="the folder to go")
        wait_for(lambda: not containers_of(engine, work), what="the container to go")

    def test_it_offers_both_ways_of_running(self, shared: Host) -> None:
        assert shared.peer.syncs[-1]["facts"]["executors"] == ["container", "process"]

    def test_it_reports_exit_codes_and_signals(self, shared: Host) -> None:
        end = end_of(shared, offer(shared, "exit 7"))
        assert (end["outcome"], end["fault"], end["exit_code"], end["code"]) == ("FAILED", "user", 7, "exit_code")
        end = end_of(shared, offer(shared, payload={"command": ["sh", "-c", "kill -SEGV $$"]}))
        assert (end["outcome"], end["fault"], end["exit_code"]) == ("FAILED", "user", 139)

    def test_it_says_that_a_command_is_not_in_the_image(self, shared: Host) -> None:
        end = end_of(shared, offer(shared, payload={"command": ["no-such-program"]}))
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "user", "command_not_found")
        assert "in the image" in end["detail"]

    def test_it_ends_what_takes_too_long(self, shared: Host, engine: Engine) -> None:
        work = offer(shared, "sleep 100", limit_ms=2000)
        end = end_of(shared, work)
        assert (end["outcome"], end["fault"], end["code"]) == ("TIMED_OUT", "user", "time_limit")
        assert end["elapsed_ms"] >= 2000
        wait_for(lambda: not containers_of(engine, work), what="the container to go")

    @pytest.mark.parametrize("place", ["program", "child"])
    def test_it_tells_when_memory_ran_out(self, shared: Host, place: str) -> None:
        hog = ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"]
        command = hog if place == "program" else ["sh", "-c", f"{' '.join(hog)}; exit $?"]
        end = end_of(shared, offer(shared, payload={"command": command, "memory_mib": 32}))
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "user", "out_of_memory")

    def test_it_streams_the_log_and_the_progress(self, shared: Host) -> None:
        told = "echo first; echo 'GAAS_PROGRESS {\"step\": 1}' >&$GAAS_PROGRESS_FD"
        work = offer(shared, f"{told}; until [ -e go ]; do sleep 0.1; done; echo last")
        until_said(shared, work, "first")
        shared.peer.until(lambda: {"step": 1} in work.progress, PATIENCE, "the progress")
        go_on(shared, work)
        end_of(shared, work)
        assert said(work).splitlines()[-1] == "last"

    @pytest.mark.long
    def test_it_ships_a_large_log_whole_and_cuts_a_larger_one(self, shared: Host) -> None:
        work = offer(shared, payload={"command": ["seq", "200000"]})
        end_of(shared, work)
        assert bytes(work.log) == b"".join(b"%d\n" % number for number in range(1, 200_001))
        work = offer(shared, payload={"command": ["dd", "if=/dev/zero", "bs=1M", "count=300"]}, max_log_bytes=8192)
        assert end_of(shared, work)["outcome"] == "SUCCEEDED"
        assert len(work.log) <= 8192
        assert "log cut at" in said(work)

    def test_it_gives_the_environment_and_no_gpu_that_is_not_the_tasks(self, shared: Host) -> None:
        gpu = shared.peer.syncs[-1]["gpus"][0]["uuid"]
        env = {"MINE": "a b", "NVIDIA_VISIBLE_DEVICES": "all"}
        work = offer(shared, "env", env=env, gpu_uuids=[gpu])
        end_of(shared, work)
        names = dict(line.split("=", 1) for line in said(work).splitlines())
        assert (names["MINE"], names["GAAS_SIMULATED_GPUS"], names["NVIDIA_VISIBLE_DEVICES"]) == ("a b", "1", "void")
        assert (names["GAAS_OUTPUT"], names["HOME"]) == ("/task/output", "/task/work")


class TestDoctor:
    @pytest.mark.long
    def test_it_names_the_engine(self, shared: Host) -> None:
        shown = subprocess.run(shared.command("doctor"), capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert "ok    containers" in shown.stdout
