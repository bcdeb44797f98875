"""How programs are ended, and that nothing of them is left."""

from __future__ import annotations

import time

from gpus.agent import clock, durable
from gpus.agent.attempt import Attempt, Order
from gpus.agent.protocol import Assignment
from gpus.agent.supervisor import Supervisor

from .host import is_running, mark, wait_for

DAEMON = """#!/usr/bin/env python3
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvpe("sleep", ["sleep", "MARK"], {"PATH": os.environ["PATH"]})
    os._exit(0)
os.wait()
print("ready", flush=True)
AFTER
"""

FORK_LOOP = """#!/usr/bin/env python3
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork():
    time.sleep(60)
ends = time.monotonic() + 20
made = 0
print("ready", flush=True)
while time.monotonic() < ends and made < 3000:
    made += 1
    if os.fork():
        os._exit(0)  # each parent leaves, its child goes on: there is never one pid to kill
os.execvp("sleep", ["sleep", "MARK"])
"""

TRAINER = """
import os, signal, subprocess, time
workers = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
def save(*_):
    time.sleep(0.2)
    # Past the streams: the signal may come before the print of the other line is back from them.
    os.write(1, b"saved with %d workers\\n" % sum(worker.poll() is None for worker in workers))
    os._exit(0)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(60)
"""


class TestCancel:
    def test_it_lets_the_program_save_first(self, running):
        script = 'trap "echo saved; exit 0" TERM; echo ready; while :; do sleep 0.05; done'
        work = running.peer.offer(payload={"script": script})
        running.peer.until(lambda: b"ready" in work.log)
        running.peer.cancel(work, grace_ms=5000)
        end = running.peer.until_finished(work)
        assert (end["outcome"], end["fault"], end["code"]) == ("CANCELLED", "none", "cancelled")
        assert bytes(work.log).startswith(b"ready\n")
        assert bytes(work.log).endswith(b"saved\n")

    def test_it_leaves_the_workers_of_a_command_to_the_command(self, running):
        work = running.peer.offer(payload={"command": ["python3", "-c", TRAINER]})
        running.peer.until(lambda: b"ready" in work.log)
        running.peer.cancel(work, grace_ms=5000)
        assert running.peer.until_finished(work)["outcome"] == "CANCELLED"
        assert bytes(work.log) == b"ready\nsaved with 2 workers\n"

    def test_it_kills_what_does_not_listen(self, running):
        this = mark()
        script = f"trap '' TERM; echo ready; sleep {this}; sleep {this}"
        work = running.peer.offer(payload={"script": script})
        running.peer.until(lambda: b"ready" in work.log)
        wait_for(lambda: is_running(this), what="the program")
        began = time.monotonic()
        running.peer.cancel(work, grace_ms=400)
        end = running.peer.until_finished(work)
        assert end["outcome"] == "CANCELLED"
        assert time.monotonic() - began >= 0.4
        assert not is_running(this)

    def test_it_kills_a_daemon_with_an_environment_of_its_own(self, running):
        this = mark()
        script = DAEMON.replace("MARK", this).replace("AFTER", "time.sleep(60)")
        work = running.peer.offer(payload={"script": script})
        running.peer.until(lambda: b"ready" in work.log)
        wait_for(lambda: is_running(this), what="the daemon")
        running.peer.cancel(work)
        assert running.peer.until_finished(work)["outcome"] == "CANCELLED"
        assert not is_running(this)

    def test_it_kills_a_program_that_forks_without_end(self, running):
        this = mark()
        work = running.peer.offer(payload={"script": FORK_LOOP.replace("MARK", this)})
        running.peer.until(lambda: b"ready" in work.log)
        running.peer.cancel(work, grace_ms=100)
        assert running.peer.until_finished(work)["outcome"] == "CANCELLED"
        assert not is_running(this)
        assert not _carrying(work.assignment.id)

    def test_it_ends_an_attempt_that_has_not_started(self, host):
        host.peer.lose_answers += ["start"] * 1000
        host.run()
        work = host.peer.offer(payload={"script": "echo never"})
        host.peer.until(lambda: work.starts > 0)
        host.peer.cancel(work)
        end = host.peer.until_finished(work)
        assert end["outcome"] == "CANCELLED"
        assert bytes(work.log) == b""
        assert host.starts(work) == 0


class TestEnd:
    def test_it_takes_the_daemons_of_a_finished_program_along(self, running):
        this = mark()
        work = running.peer.offer(payload={"script": DAEMON.replace("MARK", this).replace("AFTER", "")})
        assert running.peer.until_finished(work)["outcome"] == "SUCCEEDED"
        assert not is_running(this)

    def test_it_keeps_the_time_limit(self, working):
        this = mark()
        work = working.peer.offer(payload={"script": f"echo begun; sleep {this}"}, limit_ms=1500)
        end = working.peer.until_finished(work)
        assert (end["outcome"], end["fault"], end["code"]) == ("TIMED_OUT", "user", "time_limit")
        assert end["detail"] == "The time limit of 1.5 s was reached."
        assert bytes(work.log).startswith(b"begun\n")
        assert end["elapsed_ms"] >= 1500
        assert not is_running(this)

    def test_it_goes_on_while_the_server_gives_it_more(self, working):
        work = working.peer.offer(payload={"script": "echo begun; sleep 7"}, limit_ms=5000, open_ended=True)
        working.peer.until(lambda: work.starts > 0)
        work.assignment.limit_ms = 60_000
        working.peer.wake()
        end = working.peer.until_finished(work)
        assert (end["outcome"], end["exit_code"]) == ("SUCCEEDED", 0)

    def test_more_time_counts_once_however_it_was_told(self, tmp_path):
        """The start was asked for twice, and by the second time the server had given more."""
        assignment = Assignment("a", 1, "t", "", "script", "process", {}, {}, [], limit_ms=1000, grace_ms=0)
        attempt = Attempt.keep(tmp_path, assignment)
        lease = tmp_path / "lease.json"
        durable.write_json(lease, {"deadline_boottime": clock.boottime() + 3600})
        supervisor = Supervisor(attempt, Order(limit_ms=50_000, lease_path=str(lease)))
        attempt.prolong(50_000)
        supervisor.started_at = clock.boottime() - 20
        assert supervisor._due_verdict() is None
        supervisor.started_at = clock.boottime() - 51
        verdict = supervisor._due_verdict()
        assert (verdict.code, verdict.detail) == ("time_limit", "The time limit of 50 s was reached.")

    def test_it_keeps_the_memory_limit(self, working):
        script = "#!/usr/bin/env python3\nimport time\nheld = bytearray(200 << 20)\ntime.sleep(30)\n"
        work = working.peer.offer(payload={"script": script, "memory_mib": 100})
        end = working.peer.until_finished(work)
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "user", "out_of_memory")
        assert "its limit is 100 MiB" in end["detail"]

    def test_it_counts_memory_that_workers_share_once(self, working):
        script = (
            "#!/usr/bin/env python3\nimport os, time\nheld = bytearray(100 << 20)\n"
            "for _ in range(3):\n    if os.fork() == 0:\n        time.sleep(3)\n        os._exit(0)\n"
            "time.sleep(3)\n"
        )
        work = working.peer.offer(payload={"script": script, "memory_mib": 250})
        end = working.peer.until_finished(work)
        assert end["outcome"] == "SUCCEEDED", end
        assert end["usage"]["peak_rss_mib"] > 250


def _carrying(attempt_id: str) -> list[int]:
    from gpus.agent.processes import survivors

    return [process.pid for process in survivors(attempt_id, None)]
