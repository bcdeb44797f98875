"""`join`, `status` and `doctor`, as they are typed."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from gpus.agent import cgroups

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
        timeout=120,
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
        work = host.peer.offer(payload={"script": "echo hello; sleep 300"})
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

    def test_it_says_who_keeps_limits_here(self, host):
        try:
            base = cgroups.find(host.folder / "elsewhere")
        except cgroups.NoCgroups as why:
            said, is_good = str(why).partition(" (")[0], False  # how many others there are may change
        else:
            cgroups.leave(base)
            said, is_good = f"memory, pids, cpu by cgroups version {base.version}", True
        findings = json.loads(_type(host, "doctor", "--json").stdout)["findings"]
        limits = next(finding for finding in findings if finding["about"] == "limits")
        assert said in limits["says"]
        assert limits["is_good"] == is_good
        assert ("Delegate=yes" in limits["mend"]) == (not is_good)

    def test_it_says_that_limits_are_kept_by_looking(self, host):
        host.config.write_text(host.config.read_text() + "cgroups = false\n")
        assert "memory and processes by looking" in _type(host, "doctor").stdout


class TestDoctorAndServer:
    """What doctor finds out about the server; that of GPUs stands in test_nvml.py."""

    def findings(self, host, *flags: str) -> dict[str, dict]:
        examined = _type(host, "doctor", "--json", *flags)
        told = json.loads(examined.stdout)
        assert examined.returncode == (0 if told["is_good"] else 1)
        return {finding["about"]: finding for finding in told["findings"]}

    def test_a_good_secret_is_good(self, host):
        assert _type(host, "join").returncode == 0
        about = self.findings(host)
        assert about["server"]["is_good"]
        assert about["secret"]["is_good"]
        assert about["protocol"]["is_good"]

    def test_it_changes_nothing_on_the_server(self, host):
        assert _type(host, "join").returncode == 0
        host.peer.token = TOKEN
        self.findings(host)
        assert host.peer.syncs == []
        assert host.peer.token == TOKEN

    def test_a_secret_that_is_refused_is_a_fault(self, host):
        assert _type(host, "join").returncode == 0
        host.peer.secret = None
        secret = self.findings(host)["secret"]
        assert not secret["is_good"]
        assert "join --force" in secret["mend"]

    def test_a_server_that_is_not_there_is_a_fault(self, host):
        assert _type(host, "join").returncode == 0
        host.peer.close()
        server = self.findings(host)["server"]
        assert not server["is_good"]
        assert server["mend"].startswith("curl -v http://127.0.0.1:")

    def test_a_certificate_that_nobody_vouches_for_is_a_fault_of_its_own(self, host, tmp_path):
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "1",
                "-subj",
                "/CN=127.0.0.1",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
                "-keyout",
                "key.pem",
                "-out",
                "cert.pem",
            ],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
        with _tls_server(tmp_path) as server:
            refused = self.findings(host, "--server", server)
            trusted = self.findings(host, "--server", server, "--ca-file", str(tmp_path / "cert.pem"))
        assert "--ca-file" in refused["tls"]["mend"]
        assert "tls" not in trusted


class TestStatusForPrograms:
    def test_it_is_json_without_the_secret(self, host):
        assert _type(host, "join").returncode == 0
        shown = _type(host, "status", "--json")
        told = json.loads(shown.stdout)
        assert (told["host"], told["is_running"], told["attempts"]) == ("host-1", False, [])
        assert SECRET not in shown.stdout


@contextmanager
def _tls_server(folder):
    class Quiet(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Quiet)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
