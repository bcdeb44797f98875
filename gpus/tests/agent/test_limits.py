"""What a program may use of its host, kept by cgroups where there are some and by looking where not."""

from __future__ import annotations

import os
import subprocess

import pytest

from gpus.agent import cgroups, durable, limits
from gpus.agent.diskwatch import walk

from .conftest import skip_without
from .host import Host, is_running, mark, wait_for
from .peer import TOKEN, Peer

KEEPERS = ("cgroups", "looking")


@pytest.fixture(scope="module", params=KEEPERS)
def limited(request, tmp_path_factory):
    """A sandboxed host whose attempts may use 256 MiB of memory, 64 MiB of disk, 500 files and 40 processes."""
    skip_without("bubblewrap")
    folder = tmp_path_factory.mktemp("host")
    peer = Peer()
    host = Host(peer, folder, mode="bubblewrap")
    try:
        host.guard()
    except cgroups.NoCgroups as why:
        peer.close()
        pytest.skip(f"there are no cgroups, and nothing else to hold a fork bomb by: {why}")
    host.config.write_text(
        host.config.read_text() + f"cgroups = {str(request.param == 'cgroups').lower()}\n"
        "memory_mib = 256\ndisk_mib = 64\nmax_files = 500\nmax_processes = 40\n"
    )
    host.keeper = request.param
    host.run()
    yield host
    host.close()
    peer.close()


def _end(host, program: str, **given: object) -> dict:
    work = host.peer.offer(payload={"script": f"#!/usr/bin/env python3\n{program}"}, **given)
    return host.peer.until_finished(work)


EAT = "import time\nheld = [bytearray(b'x' * (8 << 20)) for _ in range(60)]\ntime.sleep(60)\n"


class TestMemory:
    def test_a_program_that_takes_too_much_is_ended_and_told_its_limit(self, limited):
        end = _end(limited, EAT)
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "user", "out_of_memory")
        assert "256" in end["detail"]

    def test_a_worker_that_takes_too_much_ends_the_whole(self, limited):
        """The kernel may kill the worker alone; its parent must not be left to wait for it."""
        name = mark()
        program = (
            "import os, subprocess, time\nsubprocess.Popen(['sleep', MARK])\n"
            "if os.fork() == 0:\n    held = [bytearray(b'x' * (8 << 20)) for _ in range(60)]\n    time.sleep(60)\n"
            "time.sleep(60)\n"
        ).replace("MARK", repr(name))
        end = _end(limited, program)
        assert (end["outcome"], end["code"]) == ("FAILED", "out_of_memory")
        assert not is_running(name)

    def test_workers_that_share_their_memory_may(self, limited):
        program = (
            "import os, time\nheld = bytearray(b'x' * (100 << 20))\npids = []\n"
            "for _ in range(4):\n    pid = os.fork()\n    if pid == 0:\n        time.sleep(1.5)\n        os._exit(0)\n"
            "    pids.append(pid)\nfor pid in pids: os.waitpid(pid, 0)\nprint('done')\n"
        )
        end = _end(limited, program)
        assert (end["outcome"], end["code"]) == ("SUCCEEDED", "")

    def test_the_program_knows_its_limit_and_a_task_may_ask_for_less(self, limited):
        work = limited.peer.offer(payload={"script": "echo $GAAS_MEMORY_MIB", "memory_mib": 100})
        limited.peer.until_finished(work)
        assert bytes(work.log) == b"100\n"

    def test_memory_in_files_counts_where_the_kernel_counts(self, limited):
        if limited.keeper != "cgroups":
            pytest.skip("what is not in a process is not seen by looking at processes")
        work = limited.peer.offer(payload={"script": "head -c 400M /dev/zero > /dev/shm/x; sleep 60"})
        end = limited.peer.until_finished(work)
        assert (end["fault"], end["code"]) == ("user", "out_of_memory")


class TestProcesses:
    def test_too_many_are_ended_and_told(self, limited):
        name = mark()
        program = (
            "import subprocess, time\nfor _ in range(200):\n"
            f"    try:\n        subprocess.Popen(['sleep', '{name}'])\n    except OSError:\n        time.sleep(0.1)\n"
            "time.sleep(60)\n"
        )
        end = _end(limited, program)
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "user", "too_many_processes")
        assert "40" in end["detail"]
        assert not is_running(name)

    def test_one_that_ends_because_it_may_make_no_more_is_told_why(self, limited):
        if limited.keeper != "cgroups":
            pytest.skip("only the kernel can refuse a process")
        work = limited.peer.offer(payload={"script": "for i in $(seq 200); do sleep 60 & done; wait"})
        end = limited.peer.until_finished(work)
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "user", "too_many_processes")

    def test_a_fork_bomb_ends_and_leaves_nothing(self, limited):
        assert limited.process.pid in limited.cage.pids()
        name = mark()
        bomb = (
            "import os, signal, sys\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            f"if os.fork() == 0:\n    os.setsid()\n    os.execvp('sleep', ['sleep', '{name}'])\n"
            "while True:\n    try:\n        if os.fork() == 0: os.setsid()\n    except OSError: pass\n"
        )
        end = _end(limited, bomb)
        assert (end["outcome"], end["fault"]) == ("FAILED", "user")
        assert end["code"] == "too_many_processes"
        assert not is_running(name)


class TestDisk:
    def test_too_many_bytes_are_ended_and_told(self, limited):
        work = limited.peer.offer(payload={"script": "head -c 100M /dev/zero > $GAAS_OUTPUT/x; sleep 60"})
        end = limited.peer.until_finished(work)
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "user", "disk_full")
        assert "64" in end["detail"]

    def test_too_many_files_are_ended_and_told(self, limited):
        work = limited.peer.offer(payload={"script": "seq 1000 | xargs touch; sleep 60"})
        end = limited.peer.until_finished(work)
        assert (end["fault"], end["code"]) == ("user", "disk_full")
        assert "files" in end["detail"]

    def test_bytes_are_found_however_they_are_hidden(self, limited):
        program = (
            "import os, time\nos.chdir('/task/output')\n"
            "for _ in range(300):\n    os.mkdir('d' * 60); os.chdir('d' * 60)\n"
            "open('x', 'wb').write(b'x' * (100 << 20))\nos.chmod('.', 0)\ntime.sleep(60)\n"
        )
        end = _end(limited, program)
        assert (end["fault"], end["code"]) == ("user", "disk_full")

    def test_what_is_sparse_or_named_twice_is_counted_as_it_is(self, limited):
        script = "head -c 20M /dev/zero > a; for i in 1 2 3 4 5 6; do ln a b$i; done;truncate -s 10G c; sleep 2.5"
        end = limited.peer.until_finished(limited.peer.offer(payload={"script": script}))
        assert (end["outcome"], end["code"]) == ("SUCCEEDED", "")


class TestCgroup:
    def test_none_is_left_behind(self, limited):
        if limited.keeper != "cgroups":
            pytest.skip("there are none")
        work = limited.peer.offer(payload={"script": "sleep 300"})
        limited.started(work)
        order = durable.read_json(limited.folder_of(work) / "order.json")
        there = [path / work.assignment.id for path in cgroups.Base.from_wire(order["cgroups"]).paths]
        wait_for(lambda: all(path.is_dir() for path in there), what="its cgroup")
        limited.peer.cancel(work, grace_ms=0)
        limited.peer.until_finished(work)
        assert not any(path.exists() for path in there)

    def test_a_program_that_hides_is_ended_with_its_supervisor(self, peer, tmp_path):
        """Without a sandbox, and with nothing left of what it could be known by."""
        try:
            base = cgroups.find(tmp_path / "state")
        except cgroups.NoCgroups as why:
            pytest.skip(f"there are no cgroups: {why}")
        host = Host(peer, tmp_path).run()
        name = mark()
        try:
            work = peer.offer(payload={"script": f"env -i setsid sh -c 'exec env -i sleep {name}' & sleep 60"})
            wait_for(lambda: is_running(name), what="the one that hides")
            os.kill(host.started(work)["supervisor"], 9)
            end = peer.until_finished(work)
            assert (end["fault"], end["code"]) == ("host", "supervisor_lost")
            assert not is_running(name)
        finally:
            host.close()
        assert not any(path.exists() for path in base.paths)

    def test_one_that_was_taken_away_before_the_program_is_in_it_is_made_again(self, tmp_path):
        try:
            base = cgroups.find(tmp_path / "state")
        except cgroups.NoCgroups as why:
            pytest.skip(f"there are no cgroups: {why}")
        cgroup = cgroups.Cgroup(base, "attempt")
        try:
            cgroup.make(memory_bytes=64 << 20, tasks=7, gpus=1)
            for folder in cgroup.folders.values():
                cgroups.remove_empty(folder.parent)
            program = subprocess.Popen(["sleep", "60"], preexec_fn=cgroup.enter)
            try:
                assert cgroup.pids() == [program.pid]
            finally:
                cgroup.kill()
                program.wait()
        finally:
            cgroup.remove()
            cgroups.leave(base)

    def test_those_of_an_agent_that_was_killed_go_with_the_next_start_of_any(self, peer, tmp_path):
        (tmp_path / "dead").mkdir()
        (tmp_path / "next").mkdir()
        try:
            base = cgroups.find(tmp_path / "dead" / "state")
        except cgroups.NoCgroups as why:
            pytest.skip(f"there are no cgroups: {why}")
        dead = Host(peer, tmp_path / "dead").run()
        wait_for(lambda: all(list(path.glob("owner-*")) for path in base.paths), what="its mark")
        peer.token, peer.session = TOKEN, None
        alive = Host(peer, tmp_path / "next")
        try:
            alive.run()
            assert all(path.is_dir() for path in base.paths)
            alive.kill()
            dead.kill()
            alive.run()
            # Who does it is left open: an agent of another test that starts now may be the first.
            wait_for(lambda: not any(path.exists() for path in base.paths), what="their removal")
        finally:
            alive.close()
            dead.close()

    def test_the_agents_own_are_swept_at_its_start_and_no_others(self, peer, tmp_path):
        try:
            base = cgroups.find(tmp_path / "state")
            foreign = cgroups.find(tmp_path / "other")
        except cgroups.NoCgroups as why:
            pytest.skip(f"there are no cgroups: {why}")
        left = cgroups.Cgroup(base, "left-behind")
        left.make(memory_bytes=None, tasks=10, gpus=1)
        host = Host(peer, tmp_path).run()
        try:
            assert not left.exists()
            assert all(path.is_dir() for path in foreign.paths)
        finally:
            host.close()
            cgroups.leave(foreign)


class TestShares:
    @pytest.mark.parametrize(
        ("asked", "configured", "total", "gpus", "of", "given"),
        [
            (None, 0, 24_000, 1, 1, 21_600),
            (None, 0, 1_000_000, 2, 8, 225_000),
            (None, 0, 2_000, 1, 1, 1_500),
            (4_000, 0, 24_000, 1, 1, 4_000),
            (99_000, 0, 24_000, 1, 1, 21_600),
            (None, 8_000, 24_000, 1, 1, 8_000),
            ("1", 0, 24_000, 1, 1, 21_600),
            (True, 0, 24_000, 1, 1, 21_600),
            (1, 0, 24_000, 0, 0, 64),
        ],
    )
    def test_memory_goes_by_gpus(self, asked, configured, total, gpus, of, given):
        assert limits.memory_mib(asked=asked, configured=configured, total_mib=total, gpus=gpus, of_gpus=of) == given

    def test_disk_goes_by_gpus_and_leaves_some(self):
        gib = limits.GIB
        assert limits.disk_mib(configured=0, total=100 * gib, free=85 * gib, gpus=1, of_gpus=4) == 20 * 1024
        assert limits.disk_mib(configured=500, total=100 * gib, free=85 * gib, gpus=1, of_gpus=4) == 500
        assert limits.disk_mib(configured=0, total=100 * gib, free=gib, gpus=1, of_gpus=1) == 1


class TestMeasure:
    def test_it_counts_what_is_there_and_follows_nothing(self, tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "x").write_bytes(b"x" * 100_000)
        os.link(tmp_path / "a" / "x", tmp_path / "y")
        (tmp_path / "away").symlink_to("/usr")
        os.mkfifo(tmp_path / "pipe")
        sizes = list(walk(tmp_path))
        assert 100_000 <= sum(sizes) < 150_000
        assert len(sizes) == 5
