"""What becomes of an attempt that simply runs."""

from __future__ import annotations

import hashlib
import sys

from .host import GATE, wait_for
from .peer import SECRET, TOKEN


class TestAgent:
    def test_it_runs_a_script_and_reports_its_end(self, running):
        script = "echo hello; echo oops >&2; echo '{\"loss\": 0.5}' > $GAAS_OUTPUT/result.json"
        work = running.peer.offer(payload={"script": script})
        end = running.peer.until_finished(work)
        assert (end["outcome"], end["fault"], end["exit_code"], end["code"]) == ("SUCCEEDED", "none", 0, "")
        assert bytes(work.log) == b"hello\noops\n"
        assert end["log_sha256"] == hashlib.sha256(work.log).hexdigest()
        assert end["result"] == {"loss": 0.5}
        assert work.starts == 1
        assert running.starts(work) == 1
        wait_for(lambda: not running.folder_of(work).exists(), what="the folder to go")

    def test_it_runs_a_command_in_its_work_folder(self, running):
        work = running.peer.offer(payload={"command": ["sh", "-c", "pwd; echo $HOME; touch here; ls"]})
        running.peer.until_finished(work)
        where, home, listed = bytes(work.log).decode().split()
        assert where == home
        assert listed == "here"

    def test_it_runs_a_script_by_its_interpreter(self, running):
        work = running.peer.offer(payload={"script": "#!/usr/bin/env python3\nprint(6 * 7)\n"})
        running.peer.until_finished(work)
        assert bytes(work.log) == b"42\n"

    def test_it_reports_the_exit_code(self, working):
        end = working.peer.until_finished(working.peer.offer(payload={"script": "exit 7"}))
        assert (end["outcome"], end["fault"], end["exit_code"], end["code"]) == ("FAILED", "user", 7, "exit_code")
        assert end["detail"] == "The program ended with exit code 7."

    def test_it_names_the_signal_that_ended_the_program(self, working):
        end = working.peer.until_finished(working.peer.offer(payload={"script": "kill -SEGV $$"}))
        assert (end["outcome"], end["fault"], end["exit_code"]) == ("FAILED", "user", 139)
        assert "SIGSEGV" in end["detail"]

    def test_it_says_that_a_command_was_not_found(self, running):
        end = running.peer.until_finished(running.peer.offer(payload={"command": ["no-such-program", "--fast"]}))
        assert (end["outcome"], end["fault"], end["exit_code"]) == ("FAILED", "user", 127)
        assert end["code"] == "command_not_found"
        assert "no-such-program" in end["detail"]

    def test_it_gives_the_program_a_clean_environment(self, running):
        gpu = running.peer.syncs[-1]["gpus"][0]["uuid"]
        work = running.peer.offer(payload={"script": "env"}, env={"MINE": "a b"}, gpu_uuids=[gpu])
        running.peer.until_finished(work)
        names = dict(line.split("=", 1) for line in bytes(work.log).decode().splitlines())
        names.pop("PWD")  # set by the shell
        assert set(names) == {
            "PATH", "HOME", "LANG", "TMPDIR", "MINE", "GAAS_TASK_ID", "GAAS_ATTEMPT_ID", "GAAS_OUTPUT", "GAAS_INPUT",
            "GAAS_CHECKPOINT", "GAAS_PROGRESS_FD", "GAAS_MEMORY_MIB", "GAAS_SIMULATED_GPUS", "CUDA_VISIBLE_DEVICES",
        }  # fmt: skip
        assert names["MINE"] == "a b"
        assert (names["CUDA_VISIBLE_DEVICES"], names["GAAS_SIMULATED_GPUS"]) == ("", "1")
        assert (names["GAAS_TASK_ID"], names["GAAS_ATTEMPT_ID"]) == (work.assignment.task_id, work.assignment.id)

    def test_it_ships_the_log_while_the_program_runs(self, working):
        work = working.peer.offer(payload={"script": f"sleep 0.3; echo first; {GATE}; echo last"})
        working.peer.until(lambda: bytes(work.log) == b"first\n", what="the first line")
        assert work.finish is None
        working.let_go(work)
        working.peer.until_finished(work)
        assert bytes(work.log) == b"first\nlast\n"

    def test_it_ships_a_large_log_whole(self, working):
        work = working.peer.offer(payload={"command": ["seq", "200000"]})
        end = working.peer.until_finished(work)
        assert bytes(work.log) == b"".join(b"%d\n" % number for number in range(1, 200_001))
        assert end["log_size"] == len(work.log)

    def test_it_cuts_a_log_at_its_limit_and_says_so(self, working):
        work = working.peer.offer(payload={"command": ["seq", "100000"]}, max_log_bytes=4096)
        end = working.peer.until_finished(work)
        assert end["outcome"] == "SUCCEEDED"
        assert len(work.log) <= 4096
        assert bytes(work.log).endswith(b"\n[gaas: log cut at 4032 bytes]\n")

    def test_it_reports_progress_from_the_descriptor_and_from_stdout(self, running):
        script = (
            f'echo \'GAAS_PROGRESS {{"step": 1, "of": 3}}\' >&"$GAAS_PROGRESS_FD"; echo "GAAS_PROGRESS [}}"; {GATE};'
            ' echo \'GAAS_PROGRESS {"step": 2, "of": 3, "metrics": {"loss": 0.25}}\''
        )
        work = running.peer.offer(payload={"script": script})
        running.peer.until(lambda: work.progress, what="the first step")
        running.let_go(work)
        running.peer.until_finished(work)
        assert work.progress == [{"step": 1, "of": 3}, {"step": 2, "of": 3, "metrics": {"loss": 0.25}}]

    def test_it_reports_usage(self, running):
        script = "#!/usr/bin/env python3\nimport time\nheld = bytearray(80 << 20)\ntime.sleep(0.6)\n"
        end = running.peer.until_finished(running.peer.offer(payload={"script": script}))
        assert 80 <= end["usage"]["peak_rss_mib"] < 400
        assert end["elapsed_ms"] >= 600

    def test_it_does_not_let_a_link_out_of_the_folder_be_the_result(self, running):
        script = f"ln -s {running.state / 'credential.json'} $GAAS_OUTPUT/result.json"
        end = running.peer.until_finished(running.peer.offer(payload={"script": script}))
        assert end["outcome"] == "SUCCEEDED"
        assert end["result"] is None
        assert end["detail"] == "result.json was not taken: it is a link."

    def test_it_does_not_let_the_output_folder_be_a_link(self, working):
        script = 'rmdir "$GAAS_OUTPUT" && ln -s / "$GAAS_OUTPUT"; exit 0'
        end = working.peer.until_finished(working.peer.offer(payload={"script": script}))
        assert end["outcome"] == "SUCCEEDED"
        assert end["result"] is None

    def test_it_runs_attempts_beside_each_other(self, working):
        works = [working.peer.offer(payload={"script": "echo begun; sleep 300"}) for _ in range(4)]
        working.peer.until(lambda: all(bytes(work.log) == b"begun\n" for work in works))
        for work in works:
            working.peer.cancel(work, grace_ms=0)
        for work in works:
            assert working.peer.until_finished(work)["outcome"] == "CANCELLED"

    def test_it_refuses_what_it_cannot_run(self, working):
        for code, given in {
            "executor": {"executor": "slurm"},
            "gpu_missing": {"gpu_uuids": ["GPU-of-somebody-else"]},
            "bad_payload": {"payload": {"command": "one string"}},
        }.items():
            work = working.peer.offer(**given)
            end = working.peer.until_finished(work)
            assert (end["outcome"], end["fault"], end["code"]) == ("REFUSED", "host", code)
            assert end["detail"]
            assert work.starts == 0

    def test_it_does_not_take_a_path_for_an_id(self, working):
        working.peer.offer(id="../../outside")
        work = working.peer.offer()
        assert working.peer.until_finished(work)["outcome"] == "SUCCEEDED"
        assert "cannot be taken" in working.said()
        del working.peer.work["../../outside"]

    def test_it_writes_no_secret_anywhere_but_in_its_file(self, working):
        assert SECRET not in working.said()
        assert TOKEN not in working.said().replace("join-token-file", "")
        assert (working.state / "credential.json").stat().st_mode & 0o777 == 0o600
        assert working.state.stat().st_mode & 0o777 == 0o700

    def test_it_tells_what_the_host_is(self, running):
        sync = running.peer.syncs[-1]
        assert sync["facts"]["sandbox"] == ("bubblewrap" if running.mode == "bubblewrap" else "none")
        assert sync["facts"]["executors"] == ["process"]
        (gpu,) = sync["gpus"]
        assert gpu["uuid"].startswith("SIM-")
        assert gpu["is_simulated"] is True
        seqs = [sync["seq"] for sync in running.peer.syncs]
        assert seqs == sorted(set(seqs))

    def test_it_starts_this_python_for_tasks_too(self, running):
        work = running.peer.offer(payload={"command": [f"{sys.base_prefix}/bin/python3", "-c", "print('here')"]})
        running.peer.until_finished(work)
        assert bytes(work.log) == b"here\n"
