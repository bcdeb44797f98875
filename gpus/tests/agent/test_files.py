"""Inputs, results and checkpoints through a whole agent, against a server that keeps the rules."""

from __future__ import annotations

import hashlib

import pytest

from gpus.agent.names import problem

DATA = b"0123456789" * 50_000


class TestInputs:
    def test_the_program_finds_them_and_cannot_write(self, running):
        peer = running.peer
        script = 'cat "$GAAS_INPUT/a.csv"; cat "$GAAS_INPUT/d/b.csv"'
        work = peer.offer(payload={"script": script}, inputs=peer.store(**{"a.csv": b"one\n", "d/b.csv": b"two\n"}))
        assert peer.until_finished(work)["outcome"] == "SUCCEEDED"
        assert bytes(work.log) == b"one\ntwo\n"

    def test_what_a_program_does_to_its_inputs_hurts_no_other(self, running):
        peer = running.peer
        inputs = peer.store(**{"a.csv": b"one\n"})
        spoil = 'cd "$GAAS_INPUT"; chmod u+w a.csv; echo spoilt > a.csv; rm -f a.csv; exit 0'
        peer.until_finished(peer.offer(payload={"script": spoil}, inputs=inputs))
        work = peer.offer(payload={"script": 'cat "$GAAS_INPUT/a.csv"'}, inputs=inputs)
        peer.until_finished(work)
        assert bytes(work.log) == b"one\n"

    def test_a_fetch_that_was_cut_off_goes_on(self, host):
        peer = host.peer
        peer.cut_after = 100_000
        work = peer.offer(payload={"script": 'wc -c < "$GAAS_INPUT/a"'}, inputs=peer.store(a=DATA))
        host.run()
        assert peer.until_finished(work)["outcome"] == "SUCCEEDED"
        assert int(work.log) == len(DATA)
        first, second = (start for _, start in peer.fetched)
        assert (first, second > 0) == (0, True)

    def test_wrong_bytes_are_the_hosts_report_and_nothing_ran(self, working):
        peer = working.peer
        inputs = peer.store(a=DATA)
        peer.stored[inputs[0].id] = DATA[:-1] + b"x"
        work = peer.offer(inputs=inputs)
        finish = peer.until_finished(work)
        assert (finish["outcome"], finish["fault"], finish["code"]) == ("REFUSED", "host", "input_corrupt")
        assert work.starts == 0

    def test_a_file_that_is_gone_is_said(self, working):
        peer = working.peer
        inputs = peer.store(a=DATA)
        del peer.stored[inputs[0].id]
        finish = peer.until_finished(peer.offer(inputs=inputs))
        assert (finish["outcome"], finish["fault"], finish["code"]) == ("REFUSED", "user", "input_missing")


class TestOutputs:
    def test_they_are_sent_and_listed(self, running):
        peer = running.peer
        script = (
            'cd "$GAAS_OUTPUT"; mkdir d; echo one > a; echo two > d/b; echo "{}" > result.json; ln -s /etc/passwd l'
        )
        work = peer.offer(payload={"script": script})
        finish = peer.until_finished(work)
        assert finish["result"] == {}
        assert {file["name"]: file["size"] for file in finish["artifacts"]} == {"a": 4, "d/b": 4}
        assert bytes(work.files["output", "d/b"]) == b"two\n"
        assert finish["files_note"] == "Not kept: l: it is a link."

    def test_one_that_the_server_refuses_is_named(self, working):
        peer = working.peer
        peer.refuse_files = {"b": (400, "storage_full")}
        work = peer.offer(payload={"script": 'cd "$GAAS_OUTPUT"; echo one > a; echo two > b'})
        finish = peer.until_finished(work)
        peer.refuse_files = {}
        assert [file["name"] for file in finish["artifacts"]] == ["a"]
        assert "storage_full" in finish["files_note"]

    def test_they_go_on_after_the_agent_was_killed(self, host):
        peer = host.peer
        peer.refuse_files = {"z": (500, "server_error")}
        work = peer.offer(payload={"script": 'cd "$GAAS_OUTPUT"; head -c 500000 /dev/zero > a; echo z > z'})
        host.run()
        peer.until(lambda: ("output", "a") in work.whole, what="the first file")
        host.kill()
        peer.refuse_files = {}
        host.run()
        finish = peer.until_finished(work)
        assert [file["name"] for file in finish["artifacts"]] == ["a", "z"]
        assert work.starts == 1

    def test_a_hundred_thousand_files_are_capped_and_said(self, working):
        peer = working.peer
        work = peer.offer(
            payload={"command": ["python3", "-c", MANY]},
            max_artifacts=5,
        )
        finish = peer.until_finished(work, 90)
        assert len(finish["artifacts"]) == 5
        assert "at most 5 files are kept" in finish["files_note"]

    @pytest.mark.parametrize("name", ["result.json", "model.bin"])
    def test_ten_gibibytes_of_nothing_are_left_and_said(self, running, name):
        peer = running.peer
        work = peer.offer(payload={"script": f'cd "$GAAS_OUTPUT"; echo one > a; truncate -s 10G {name}'})
        finish = peer.until_finished(work)
        assert (finish["outcome"], finish["result"]) == ("SUCCEEDED", None)
        assert [file["name"] for file in finish["artifacts"]] == ["a"]
        assert f"Not kept: {name}: more than 256 MiB of it were never written" in finish["files_note"]
        assert ("result.json was not taken" in finish["detail"]) == (name == "result.json")


MANY = "import os; os.chdir(os.environ['GAAS_OUTPUT'])\nfor n in range(100000): os.close(os.open(str(n), os.O_CREAT))"


class TestCheckpoint:
    def test_it_is_given_and_kept_anew(self, running):
        peer = running.peer
        script = 'cd "$GAAS_CHECKPOINT"; cat step; echo 2 > step.tmp; mv step.tmp step; echo x > half.tmp; exit 7'
        work = peer.offer(payload={"script": script}, checkpoint=peer.store(step=b"1\n"))
        peer.until_finished(work)
        assert bytes(work.log) == b"1\n"
        assert work.checkpoints == [["step"]]
        assert bytes(work.files["checkpoint", "step"]) == b"2\n"

    def test_what_did_not_change_is_not_sent_again(self, working):
        peer = working.peer
        work = peer.offer(payload={"script": "exit 7"}, checkpoint=peer.store(step=b"1\n"))
        peer.until_finished(work)
        assert work.checkpoints == []
        assert work.files == {}

    def test_it_is_kept_while_the_program_runs(self, working):
        peer = working.peer
        script = 'cd "$GAAS_CHECKPOINT"; echo 1 > t.tmp; mv t.tmp a; sleep 60'
        work = peer.offer(payload={"script": script}, checkpoint_seconds=0.2)
        peer.until(lambda: work.checkpoints == [["a"]], what="the checkpoint")
        assert work.whole["checkpoint", "a"] == hashlib.sha256(b"1\n").hexdigest()
        peer.cancel(work)
        peer.until_finished(work)

    def test_after_a_success_none_is_sent(self, working):
        peer = working.peer
        work = peer.offer(payload={"script": 'echo 1 > "$GAAS_CHECKPOINT/a"'})
        peer.until_finished(work)
        assert work.checkpoints == []


@pytest.mark.parametrize(
    "name", ["a", "a/b.csv", "\u00e9t\u00e9.txt", "a b", "console", "a" * 255, "/".join("a" * 16), ".hidden"]
)
def test_plain_names_are_safe(name):
    assert problem(name) is None
