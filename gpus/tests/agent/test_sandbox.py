"""What a program tries from inside, and does not get. Each attack follows a call that works."""

from __future__ import annotations

import http.server
import json
import os
import socket
import threading

from gpus.agent.executors import bubblewrap

from .host import mark, wait_for
from .peer import SECRET


def _run(host, script: str, **payload: object) -> str:
    work = host.peer.offer(payload={"script": script} | payload)
    host.peer.until_finished(work)
    return bytes(work.log).decode(errors="replace")


def _python(host, program: str, **payload: object) -> str:
    return _run(host, f"#!/usr/bin/env python3\n{program}", **payload)


class TestSandbox:
    def test_it_shows_the_program_its_own_folders_and_lets_it_write_there(self, sandboxed):
        script = 'for d in task/work task/output task/checkpoint tmp; do echo ok > "/$d/x" && cat "/$d/x"; done'
        assert _run(sandboxed, script) == "ok\n" * 4

    def test_it_hides_the_state_directory(self, sandboxed):
        secret = sandboxed.state / "credential.json"
        assert SECRET in secret.read_text()
        said = _run(sandboxed, f"cat {secret} || ls {sandboxed.state} {sandboxed.folder} || echo nothing")
        assert said.endswith("nothing\n")
        assert SECRET not in said

    def test_it_hides_other_attempts(self, sandboxed):
        other = sandboxed.peer.offer(payload={"script": "echo private > $GAAS_OUTPUT/private; sleep 300"})
        wait_for(lambda: (sandboxed.folder_of(other) / "box/output/private").exists(), what="the other's file")
        find = "find / -path /usr -prune -o -name private -print 2>/dev/null"
        assert _run(sandboxed, f"touch private; {find}") == "/task/work/private\n"
        # Its own init and shell, ls and grep: no process of another attempt or of the host.
        assert int(_run(sandboxed, "ls /proc | grep -c '^[0-9]*$'")) <= 5
        assert other.finish is None
        sandboxed.peer.cancel(other, grace_ms=0)
        sandboxed.peer.until_finished(other)

    def test_it_leaves_nothing_of_the_agent_in_any_environment(self, sandboxed):
        assert "AGENT_ONLY_VARIABLE" in _environ(sandboxed.process.pid)
        seen = _run(sandboxed, "cat /proc/*/environ | tr '\\0' '\\n'; cat /proc/*/cmdline | tr '\\0' ' '")
        assert "GAAS_ATTEMPT_ID" in seen
        for word in ("AGENT_ONLY_VARIABLE", SECRET, str(sandboxed.folder), "PYTHONPATH"):
            assert word not in seen

    def test_it_shows_no_home_and_no_secrets_of_the_system(self, sandboxed):
        hidden = "/etc/shadow /root/.ssh /home /var/lib /var/run/docker.sock /sys /boot /opt /etc/ssl/private"
        script = f"for f in {hidden} /usr/bin; do test -e $f && echo $f; done"
        assert _run(sandboxed, script) == "/usr/bin\n"
        assert _run(sandboxed, script, network=True) == "/usr/bin\n"

    def test_it_lets_nothing_of_the_system_be_written(self, sandboxed):
        places = "/usr/x /etc/x /x /dev/x /task/input/x /run/x /bin/x"
        script = f"for f in {places}; do (echo x > $f) 2>/dev/null && echo $f; done; echo end"
        assert _run(sandboxed, script) == "end\n"

    def test_it_gives_no_network(self, sandboxed):
        server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_port
        program = (
            "import socket\n"
            "for host, port in (('127.0.0.1', PORT), ('169.254.169.254', 80), ('10.0.0.1', 53)):\n"
            "    try:\n        socket.create_connection((host, port), 2); print('reached')\n"
            "    except OSError as error: print('refused')\n"
            "print(sorted(name for _, name in socket.if_nameindex()))\n"
        ).replace("PORT", str(port))
        try:
            assert _python(sandboxed, program) == "refused\nrefused\nrefused\n['lo']\n"
            asked_for = _python(
                sandboxed, program.replace(", ('169.254.169.254', 80), ('10.0.0.1', 53)", ","), network=True
            )
            assert asked_for.startswith("reached\n")
            not_quite = _python(sandboxed, program, network="yes")
            assert not_quite.startswith("refused\n")
        finally:
            server.shutdown()
            server.server_close()

    def test_it_reaches_no_abstract_socket_of_the_host(self, sandboxed):
        name = f"\0gaas-test-{mark()}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(name)
            listener.listen()
            with socket.socket(socket.AF_UNIX) as control:
                control.connect(name)
            program = (
                f"import socket\ns = socket.socket(socket.AF_UNIX)\n"
                f"try:\n    s.connect({name!r}); print('reached')\nexcept OSError: print('refused')\n"
            )
            assert _python(sandboxed, program) == "refused\n"

    def test_it_gives_no_device_but_the_plain_ones(self, sandboxed):
        seen = set(_run(sandboxed, "ls /dev").split())
        assert "null" in seen
        plain = {
            "core",
            "fd",
            "full",
            "null",
            "ptmx",
            "pts",
            "random",
            "shm",
            "stderr",
            "stdin",
            "stdout",
            "tty",
            "urandom",
            "zero",
        }
        assert seen - plain == set()

    def test_it_gives_no_rights(self, sandboxed):
        program = (
            "import os, ctypes, subprocess\n"
            "lines = dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())\n"
            "print(lines['CapEff'].strip(), lines['CapBnd'].strip(), lines['NoNewPrivs'].strip(), os.getuid())\n"
            "for call in (lambda: os.setuid(0), lambda: os.chroot('/tmp'), lambda: os.mknod('/tmp/d', 0o60000, 1)):\n"
            "    try:\n        call(); print('done')\n    except OSError: print('refused')\n"
            "made = subprocess.run(['unshare', '-Ur', 'true'], capture_output=True).returncode == 0\n"
            "print('done' if made else 'refused')\n"
        )
        lines = _python(sandboxed, program).splitlines()
        assert lines[0] == "0" * 16 + " " + "0" * 16 + " 1 1000"
        assert lines[1:4] == ["refused"] * 3
        if "--disable-userns" in bubblewrap._options("bwrap"):
            assert lines[4] == "refused"

    def test_it_sees_no_process_of_the_host_and_can_end_none(self, sandboxed):
        agent, this = sandboxed.process.pid, os.getpid()
        assert _run(sandboxed, "sleep 9 & kill -9 $! && echo done") == "done\n"
        said = _run(sandboxed, f"kill -9 {agent} && echo done; kill -9 {this} && echo done; kill -9 -1")
        assert "done" not in said
        assert sandboxed.process.poll() is None

    def test_it_hands_no_descriptor_on(self, sandboxed):
        program = (
            "import os, json\nheld = {}\n"
            "for fd in os.listdir('/proc/self/fd'):\n"
            "    try: held[fd] = os.readlink(f'/proc/self/fd/{fd}')\n"
            "    except OSError: pass  # the listing's own\n"
            "print(json.dumps(held))\n"
        )
        held = json.loads(_python(sandboxed, program))
        assert held.pop("0") == "/dev/null"
        assert all(target.startswith("pipe:") for target in held.values()), held
        assert len(held) == 3  # both streams, and progress

    def test_it_says_when_the_sandbox_cannot_be_set_up(self, sandboxed):
        # Take a folder away between the assignment and the start: the program is not to blame.
        sandboxed.peer.lose_answers += ["start"] * 1000
        work = sandboxed.peer.offer(payload={"script": "echo never"})
        sandboxed.peer.until(lambda: work.starts > 0)
        (sandboxed.folder_of(work) / "box/checkpoint").rmdir()
        sandboxed.peer.lose_answers.clear()
        end = sandboxed.peer.until_finished(work)
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "host", "sandbox_failed")


class TestWithoutSandbox:
    def test_it_refuses_to_run_programs(self, host):
        host.mode = "bubblewrap"
        host.config.write_text(host.config.read_text() + 'bubblewrap = "/no/such/bwrap"\n')
        assert host.start().wait(timeout=60) == 1
        assert "there is no usable sandbox" in host.said()
        assert "apt install bubblewrap" in host.said()

    def test_it_runs_by_the_owners_word_and_says_so(self, host):
        host.config.write_text(host.config.read_text() + 'bubblewrap = "/no/such/bwrap"\n')
        host.run()
        assert "WITHOUT a sandbox" in host.said()
        assert host.peer.syncs[-1]["facts"]["sandbox"] == "none"


def _environ(pid: int) -> str:
    with open(f"/proc/{pid}/environ") as file:
        return file.read()
