"""`join`, `status` and `doctor`, as they are typed."""

from __future__ import annotations

import os
import subprocess

from .host import ROOT
from .peer import SECRET, TOKEN


def _type(host, verb: str, *flags: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        host.command(verb, *flags),
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | env,
        check=False,
        timeout=30,
    )


class TestJoin:
    def test_it_keeps_the_secret_and_shows_none(self, host):
        joined = _type(host, "join")
        assert joined.returncode == 0, joined.stderr
        assert "joined" in joined.stderr
        assert SECRET in (host.state / "credential.json").read_text()
        assert SECRET not in joined.stdout + joined.stderr
        assert TOKEN not in joined.stdout + joined.stderr

    def test_it_takes_the_token_from_the_environment(self, host):
        text = host.config.read_text().replace(f'join_token_file = "{host.token}"\n', "")
        host.config.write_text(text)
        assert _type(host, "join").returncode == 2
        assert _type(host, "join", GAAS_JOIN_TOKEN=TOKEN).returncode == 0

    def test_it_does_not_replace_a_credential_unasked(self, host):
        assert _type(host, "join").returncode == 0
        host.peer.token = TOKEN
        again = _type(host, "join")
        assert again.returncode == 2
        assert "--force" in again.stderr
        assert host.peer.token == TOKEN
        assert _type(host, "join", "--force").returncode == 0

    def test_it_says_that_a_token_was_used(self, host):
        host.peer.token = None
        refused = _type(host, "join")
        assert refused.returncode == 3
        assert "ask the host's owner for a new one" in refused.stderr


class TestStatus:
    def test_it_shows_what_is_held(self, host):
        assert "no state directory" in _type(host, "status").stderr
        host.run()
        work = host.peer.offer(payload={"script": "echo hello; sleep 3"})
        host.peer.until(lambda: b"hello" in work.log)
        shown = _type(host, "status").stdout
        assert "host      host-1 of" in shown
        assert "agent     runs" in shown
        assert f"attempt   {work.assignment.id}" in shown
        assert "running" in shown
        assert SECRET not in shown


class TestDoctor:
    def test_it_names_what_mends_each_fault(self, host):
        host.config.write_text(host.config.read_text() + 'bubblewrap = "/no/such/bwrap"\n')
        host.state.mkdir()
        examined = _type(host, "doctor")
        assert examined.returncode == 1
        lines = examined.stdout.splitlines()
        faults = [number for number, line in enumerate(lines) if line.startswith("FAULT")]
        assert {"credential", "sandbox"} <= {lines[number].split()[1] for number in faults}
        assert all(lines[number + 1].startswith("      mend it: ") for number in faults)
        assert "apt install bubblewrap" in examined.stdout

    def test_it_finds_declared_devices_enough(self, host):
        examined = _type(host, "doctor", "--simulated-gpus", "2")
        assert "2 simulated" in examined.stdout or "GiB" in examined.stdout
