"""An agent whose disk is really full: its fault, told even then, and over when there is room again."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from gaas.tests.disks import small_disk
from gpus.agent.attempt import RESERVE, Attempt
from gpus.agent.protocol import Assignment

from .host import Host, wait_for

MIB = 32


@pytest.fixture
def cramped(peer, tmp_path):
    """A host on a disk of 32 MiB, which its programs may fill."""
    with small_disk(tmp_path / "disk", mib=MIB) as disk:
        host = Host(peer, disk)
        host.config.write_text(host.config.read_text() + "disk_mib = 100000\n")
        # What the agent says goes elsewhere, as to a journal.
        host.log_path = tmp_path / "agent.log"
        host.run()
        yield host
        host.close()


def _fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)


class TestFullDisk:
    def test_a_program_that_finds_it_full_fails_by_the_hosts_fault(self, cramped):
        work = cramped.peer.offer(payload={"script": "head -c 200M /dev/zero > x"})
        end = cramped.peer.until_finished(work)
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "host", "disk")
        again = cramped.peer.offer(payload={"script": "echo fine"})
        assert cramped.peer.until_finished(again)["outcome"] == "SUCCEEDED"
        assert bytes(again.log) == b"fine\n"

    def test_a_log_that_fills_it_is_the_hosts_fault_and_what_is_there_arrives(self, cramped):
        work = cramped.peer.offer(payload={"script": "yes; exit 0"})
        end = cramped.peer.until_finished(work)
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "host", "disk")
        assert bytes(work.log[:4]) == b"y\ny\n"
        assert end["log_size"] == len(work.log)

    def test_inputs_that_do_not_fit_are_refused_before_anything_runs(self, cramped):
        inputs = cramped.peer.store(a=b"0" * (MIB << 20))
        work = cramped.peer.offer(inputs=inputs)
        end = cramped.peer.until_finished(work)
        assert (end["outcome"], end["fault"], end["code"]) == ("REFUSED", "host", "disk")
        assert work.starts == 0

    def test_more_time_takes_none_of_the_room_that_is_kept_for_the_end(self, tmp_path):
        with small_disk(tmp_path / "disk", mib=1) as disk:
            assignment = Assignment("a", 1, "t", "", "script", "process", {}, {}, [], limit_ms=1000, grace_ms=0)
            attempt = Attempt.keep(disk, assignment)
            _fill(disk)
            attempt.prolong(5000)
            assert (attempt.folder / RESERVE).exists()
            (disk / "filler").unlink()
            attempt.prolong(5000)
            assert attempt.more_ms() == 4000

    def test_nothing_is_taken_while_it_is_full_and_all_goes_on_afterwards(self, cramped):
        _fill(cramped.folder)
        work = cramped.peer.offer(payload={"script": "echo fine"})
        wait_for(lambda: "No space left" in cramped.said(), what="a word about it")
        assert cramped.process.poll() is None
        assert work.starts == 0
        (cramped.folder / "filler").unlink()
        assert cramped.peer.until_finished(work)["outcome"] == "SUCCEEDED"
        assert bytes(work.log) == b"fine\n"
