"""What happens when the agent, its supervisor, the network or the server fails."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from gpus.agent import durable
from gpus.agent.protocol import Timers

from .host import GATE, ROOT, Host, is_running, mark, wait_for
from .peer import TIMERS, Refusal


class TestAgentKilled:
    def test_it_finds_the_program_again_and_does_not_start_it_twice(self, either_host):
        host = either_host.run()
        script = "for i in $(seq 1 15); do echo line $i; sleep 0.1; done"
        work = host.peer.offer(payload={"script": script})
        host.peer.until(lambda: b"line 3" in work.log)
        host.kill()
        time.sleep(0.5)
        host.run()
        end = host.peer.until_finished(work)
        assert end["outcome"] == "SUCCEEDED"
        assert bytes(work.log).decode().splitlines() == [f"line {i}" for i in range(1, 16)]
        assert host.starts(work) == 1
        assert work.starts == 1

    def test_it_reports_what_ended_meanwhile(self, host):
        host.run()
        work = host.peer.offer(payload={"script": f"echo begun; {GATE}; echo done; exit 3"})
        host.peer.until(lambda: b"begun" in work.log)
        host.kill()
        host.let_go(work)
        wait_for((host.folder_of(work) / "exit.json").exists, what="the end without an agent")
        host.run()
        end = host.peer.until_finished(work)
        assert (end["outcome"], end["exit_code"]) == ("FAILED", 3)
        assert bytes(work.log) == b"begun\ndone\n"

    def test_it_starts_what_was_permitted_and_never_begun(self, host):
        host.peer.lose_answers += ["start"] * 1000
        host.run()
        work = host.peer.offer(payload={"script": "echo once"})
        host.peer.until(lambda: work.starts > 0)
        host.kill()
        host.peer.lose_answers.clear()
        assert host.folder_of(work).is_dir()
        host.run()
        assert host.peer.until_finished(work)["outcome"] == "SUCCEEDED"
        assert bytes(work.log) == b"once\n"
        assert host.starts(work) == 1

    def test_a_second_supervisor_refuses_to_start_the_program(self, host):
        host.run()
        work = host.peer.offer(payload={"script": "sleep 60"})
        host.started(work)
        command = [*host.command("run")[:2], "gpus.agent.supervisor", str(host.folder_of(work))]
        assert subprocess.run(command, cwd=ROOT, check=False).returncode == 4
        os.kill(host.started(work)["supervisor"], signal.SIGKILL)
        host.kill()
        wait_for(lambda: subprocess.run(command, cwd=ROOT, check=False).returncode == 5, what="the refusal")
        assert host.starts(work) == 1

    def test_it_runs_once_through_kills_at_any_moment(self, host):
        """Kill the agent again and again while short attempts come and go; each runs exactly once.

        It has joined before: a join that is cut off has used its token up, and its owner gives another.
        """
        host.run()
        host.kill()
        works = [host.peer.offer(payload={"script": f"echo {number}"}) for number in range(12)]
        for number in range(6):
            host.start()
            time.sleep(0.25 + 0.07 * number)
            host.kill()
        host.run()
        for number, work in enumerate(works):
            end = host.peer.until_finished(work)
            assert end["outcome"] == "SUCCEEDED"
            assert bytes(work.log) == b"%d\n" % number
            assert host.starts(work) == 1

    def test_it_keeps_its_session_and_never_repeats_a_number(self, host):
        host.run()
        host.kill()
        host.run()
        assert len({sync["session"] for sync in host.peer.syncs}) == 1
        seqs = [sync["seq"] for sync in host.peer.syncs]
        assert seqs == sorted(set(seqs))


class TestAgentStopped:
    def test_it_leaves_programs_running_and_says_so(self, host):
        host.run()
        work = host.peer.offer(payload={"script": f"echo begun; {GATE}; echo done"})
        host.peer.until(lambda: b"begun" in work.log)
        assert host.terminate() == 0
        assert "1 programs go on under their supervisors" in host.said()
        host.run()
        host.let_go(work)
        assert host.peer.until_finished(work)["outcome"] == "SUCCEEDED"
        assert host.starts(work) == 1

    def test_it_ends_programs_first_when_told(self, host):
        host.run("--stop-programs")
        this = mark()
        work = host.peer.offer(payload={"script": f"echo begun; sleep {this}"})
        host.peer.until(lambda: b"begun" in work.log)
        wait_for(lambda: is_running(this), what="the program")
        assert host.terminate() == 0
        assert work.finish is not None
        assert (work.finish["outcome"], work.finish["fault"]) == ("FAILED", "host")
        assert work.finish["code"] == "agent_stopped"
        assert not is_running(this)

    def test_a_second_agent_is_refused(self, host):
        host.run()
        second = subprocess.run(host.command("run", "--unsandboxed"), cwd=ROOT, capture_output=True, check=False)
        assert second.returncode == 5
        assert b"another agent runs" in second.stderr


class TestSupervisorKilled:
    def test_it_reports_the_loss_and_leaves_no_survivor(self, either_host):
        host = either_host.run()
        this = mark()
        script = f"sleep {this} & setsid sleep {this} & echo ready; sleep {this}"
        work = host.peer.offer(payload={"script": script})
        host.peer.until(lambda: b"ready" in work.log)
        wait_for(lambda: is_running(this), what="the program")
        os.kill(host.started(work)["supervisor"], signal.SIGKILL)
        end = host.peer.until_finished(work)
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "host", "supervisor_lost")
        assert not is_running(this)
        assert host.starts(work) == 1

    def test_it_reports_the_loss_after_a_restart_too(self, host):
        host.run()
        this = mark()
        work = host.peer.offer(payload={"script": f"(sleep {this} &) ; echo ready; sleep {this}"})
        host.peer.until(lambda: b"ready" in work.log)
        wait_for(lambda: is_running(this), what="the program")
        host.kill()
        os.kill(host.started(work)["supervisor"], signal.SIGKILL)
        host.run()
        assert host.peer.until_finished(work)["code"] == "supervisor_lost"
        assert not is_running(this)

    def test_it_kills_nobody_by_a_number_from_before_a_reboot(self, host):
        host.run()
        this = mark()
        work = host.peer.offer(payload={"script": f"echo ready; exec sleep {this}"})
        host.peer.until(lambda: b"ready" in work.log)
        wait_for(lambda: is_running(this), what="the program")
        host.kill()
        started = host.started(work)
        os.kill(started["supervisor"], signal.SIGKILL)
        bystander = subprocess.Popen(["sleep", mark()], env={"GAAS_ATTEMPT_ID": work.assignment.id, "PATH": os.defpath})
        durable.write_json(host.folder_of(work) / "started.json", started | {"boot": "an earlier one"})
        host.run()
        end = host.peer.until_finished(work)
        assert end["code"] == "supervisor_lost"
        assert end["detail"] == "The host was restarted."
        assert bystander.poll() is None
        bystander.kill()
        bystander.wait()

    def test_a_supervisor_that_is_told_to_go_ends_its_program(self, host):
        host.run()
        this = mark()
        work = host.peer.offer(payload={"script": f"echo ready; sleep {this}"})
        host.peer.until(lambda: b"ready" in work.log)
        wait_for(lambda: is_running(this), what="the program")
        os.kill(host.started(work)["supervisor"], signal.SIGTERM)
        end = host.peer.until_finished(work)
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "host", "host_shutdown")
        assert not is_running(this)


def _fence(host: Host, seconds: float) -> None:
    """Have what runs by now end so soon without a sync: before it runs, a busy machine might be as late as that."""
    host.peer.timers = Timers(**vars(TIMERS) | {"fence_seconds": seconds})
    before = len(host.peer.syncs)
    host.peer.until(lambda: len(host.peer.syncs) >= before + 2, what="a sync after one that was answered so")


class TestServerGone:
    def test_it_fences_its_programs_when_the_server_is_silent(self, host):
        host.run()
        this = mark()
        work = host.peer.offer(payload={"script": f"echo ready; sleep {this}"})
        host.peer.until(lambda: b"ready" in work.log)
        wait_for(lambda: is_running(this), what="the program")
        _fence(host, 1.5)
        host.peer.is_silent = True
        wait_for(lambda: not is_running(this), what="the fence")
        ended = durable.read_json(host.folder_of(work) / "exit.json")
        host.peer.is_silent = False
        end = host.peer.until_finished(work)
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "host", "fenced")
        assert ended is None or ended["code"] == "fenced"

    def test_it_fences_its_programs_when_the_agent_is_gone_too(self, host):
        host.run()
        this = mark()
        work = host.peer.offer(payload={"script": f"echo ready; sleep {this}"})
        host.peer.until(lambda: b"ready" in work.log)
        wait_for(lambda: is_running(this), what="the program")
        _fence(host, 1.5)
        host.kill()
        wait_for(lambda: not is_running(this), what="the fence")

    def test_it_goes_on_through_an_outage_shorter_than_the_fence(self, host):
        host.run()
        work = host.peer.offer(payload={"script": "echo one; sleep 0.8; echo two"})
        host.peer.until(lambda: b"one" in work.log)
        host.peer.is_silent = True
        time.sleep(1.3)
        host.peer.is_silent = False
        assert host.peer.until_finished(work)["outcome"] == "SUCCEEDED"
        assert bytes(work.log) == b"one\ntwo\n"

    def test_it_waits_for_a_server_that_is_not_up(self, host):
        host.peer.is_silent = True
        process = host.start()
        time.sleep(1)
        assert process.poll() is None
        host.peer.is_silent = False
        host.peer.until(lambda: len(host.peer.syncs) > 0)


class TestAnswersLost:
    def test_it_runs_once_when_the_answer_to_start_is_lost(self, working):
        working.peer.lose_answers += ["start", "start"]
        work = working.peer.offer(payload={"script": "echo once"})
        assert working.peer.until_finished(work)["outcome"] == "SUCCEEDED"
        assert work.starts == 3
        assert working.starts(work) == 1
        assert bytes(work.log) == b"once\n"

    def test_it_repeats_a_finish_that_was_not_answered(self, working):
        working.peer.lose_answers += ["finish", "finish"]
        work = working.peer.offer(payload={"script": "exit 4"})
        assert working.peer.until_finished(work)["exit_code"] == 4
        wait_for(lambda: not working.folder_of(work).exists(), what="the folder to go")

    def test_it_ships_no_byte_twice_when_answers_to_logs_are_lost(self, working):
        working.peer.lose_answers += ["logs", "logs"]
        work = working.peer.offer(payload={"script": "echo a; sleep 0.4; echo b"})
        working.peer.until_finished(work)
        assert bytes(work.log) == b"a\nb\n"

    def test_it_goes_back_to_where_the_server_wants_the_log(self, working):
        work = working.peer.offer(payload={"script": f"echo 0123456789; {GATE}; echo abc"})
        working.peer.until(lambda: len(work.log) == 11)
        working.peer.break_log_once = 4
        working.let_go(work)
        working.peer.until_finished(work)
        assert bytes(work.log) == b"0123456789\nabc\n"

    def test_it_finds_out_that_the_log_is_incomplete_at_the_finish(self, working):
        work = working.peer.offer(payload={"script": f"echo 0123456789; {GATE}"})
        working.peer.until(lambda: len(work.log) == 11)
        del work.log[5:]
        working.let_go(work)
        assert working.peer.until_finished(work)["log_lost_from"] is None
        assert bytes(work.log) == b"0123456789\n"

    def test_it_finishes_without_a_log_that_is_gone(self, working):
        work = working.peer.offer(payload={"script": f"echo 0123456789; {GATE}"})
        working.peer.until(lambda: len(work.log) == 11)
        (working.folder_of(work) / "log").unlink()
        working.let_go(work)
        end = working.peer.until_finished(work)
        assert (end["outcome"], end["log_lost_from"], end["log_size"]) == ("SUCCEEDED", 11, 11)

    def test_it_counts_on_from_further_up_when_its_number_is_stale(self, host):
        host.run()
        host.peer.seq = 20_000
        work = host.peer.offer()
        assert host.peer.until_finished(work)["outcome"] == "SUCCEEDED"


class TestRefused:
    def test_it_ends_and_forgets_an_attempt_whose_lease_is_lost(self, either_host):
        host = either_host.run()
        this = mark()
        work = host.peer.offer(payload={"script": f"trap '' TERM; echo ready; sleep {this}; sleep {this}"})
        host.peer.until(lambda: b"ready" in work.log)
        wait_for(lambda: is_running(this), what="the program")
        work.is_lost = True
        host.peer.wake()
        wait_for(lambda: not is_running(this), what="the program to end")
        wait_for(lambda: not host.folder_of(work).exists(), what="the folder to go")
        assert work.finish is None

    def test_it_forgets_an_attempt_that_it_may_not_start(self, working):
        work = working.peer.offer(payload={"script": "echo never"})
        work.is_lost = True
        wait_for(lambda: not working.folder_of(work).exists(), what="the folder to go")
        assert working.starts(work) == 0

    def test_it_ends_at_once_with_a_sentence_when_its_credential_is_refused(self, host):
        host.run()
        host.peer.secret = None
        host.peer.wake()
        assert host.process.wait(timeout=60) == 3
        assert "its credential was revoked or replaced" in host.said()

    def test_its_programs_have_until_the_fence_when_the_secret_is_another(self, host):
        host.run()
        this = mark()
        host.peer.offer(payload={"command": ["sleep", this]})
        wait_for(lambda: is_running(this), what="the program")
        host.peer.secret = None
        host.peer.wake()
        assert host.process.wait(timeout=60) == 3
        assert is_running(this)
        assert "put the new one into" in host.said()

    def test_a_revoked_host_ends_its_programs_at_once_and_forgets_them(self, either_host):
        host = either_host.run()
        this = mark()
        work = host.peer.offer(payload={"script": f"trap '' TERM; echo ready; (setsid sleep {this} &); sleep {this}"})
        host.peer.until(lambda: b"ready" in work.log)
        wait_for(lambda: is_running(this), what="the program")
        host.peer.unknown_secret, host.peer.secret = "host_revoked", None
        host.peer.wake()
        assert host.process.wait(timeout=60) == 3
        assert not is_running(this)
        assert host.held() == []
        assert "add it as a new host" in host.said()

    def test_a_revoked_host_ends_programs_whose_agent_is_gone_too(self, host):
        host.run()
        this = mark()
        work = host.peer.offer(payload={"command": ["sleep", this]})
        wait_for(lambda: is_running(this), what="the program")
        host.kill()
        host.peer.unknown_secret, host.peer.secret = "host_revoked", None
        assert host.start().wait(timeout=60) == 3
        assert not is_running(this)
        assert not host.folder_of(work).exists()

    def test_it_ends_when_its_join_token_is_refused(self, host):
        host.peer.token = None
        assert host.start().wait(timeout=60) == 3
        assert "did not take the join token" in host.said()

    def test_it_waits_for_another_session_to_end(self, host):
        host.peer.is_conflicted = True
        host.start()
        wait_for(lambda: "another agent uses this host's credential" in host.said(), what="the word")
        host.peer.is_conflicted = False
        host.peer.until(lambda: len(host.peer.syncs) > 0)

    def test_it_reports_without_a_result_that_the_server_refuses(self, working, monkeypatch):
        original = working.peer._finish

        def strict(work, body):
            if body["result"] is not None:
                raise Refusal(400, "invalid")
            return original(work, body)

        monkeypatch.setattr(working.peer, "_finish", strict)
        work = working.peer.offer(payload={"script": "echo '[1]' > $GAAS_OUTPUT/result.json"})
        end = working.peer.until_finished(work)
        assert end["outcome"] == "SUCCEEDED"
        assert end["detail"] == "The server did not take result.json."

    def test_a_slow_log_does_not_delay_the_syncs(self, working, monkeypatch):
        original, is_enough = working.peer._logs, []

        def slow(work, epoch, offset, body):
            while not is_enough:
                working.peer.lock.wait(0.1)
            return original(work, epoch, offset, body)

        monkeypatch.setattr(working.peer, "_logs", slow)
        work = working.peer.offer(payload={"script": "echo a"})
        working.peer.until(lambda: work.status == "RUNNING")
        before = len(working.peer.syncs)
        working.peer.until(lambda: len(working.peer.syncs) >= before + 3)
        assert working.peer.syncs[-1]["attempts"][0]["id"] == work.assignment.id
        assert bytes(work.log) == b""
        is_enough.append(True)
        working.peer.until_finished(work)
