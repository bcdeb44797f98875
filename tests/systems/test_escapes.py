"""What a program tries against its host, under a real bubblewrap and a real agent: refused or capped, and said.

What it could see is in gpus/tests/agent/test_sandbox.py, what it could use up in test_limits.py; `make test-escapes`
runs all three.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpus.agent import cgroups
from gpus.agent.executors import bubblewrap
from gpus.tests.agent.host import Host, how_many_run, is_running, mark, wait_for
from gpus.tests.agent.peer import SECRET, Peer

pytestmark = pytest.mark.systems

LOG_BYTES = 100_000
# Beyond what a busy machine takes for anything here; and of what no program is ended by.
PATIENCE, LIMIT_MS = 300, 600_000


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    if (why := bubblewrap.unusable("bwrap")) is not None:
        pytest.skip(f"bubblewrap cannot be used here: {why}")
    peer = Peer()
    host = Host(peer, tmp_path_factory.mktemp("host"), mode="bubblewrap")
    try:
        host.guard()
    except cgroups.NoCgroups as why:
        peer.close()
        pytest.skip(f"there are no cgroups to hold what a test lets loose: {why}")
    host.run()
    yield host
    host.close()
    peer.close()


def _ran(host, program: str, **given: object) -> tuple[dict, bytes]:
    script = program if program.startswith("#!") else f"#!/usr/bin/env python3\n{program}"
    work = host.peer.offer(**{"payload": {"script": script}, "limit_ms": LIMIT_MS} | given)
    return host.peer.until_finished(work, PATIENCE), bytes(work.log)


def _files(folder: Path) -> Iterator[Path]:
    """Find all files below a folder, in which an agent clears up meanwhile: Path.rglob would raise."""
    return (Path(at, name) for at, _, names in os.walk(folder) for name in names)


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.lstat().st_blocks * 512
    return 0


class TestReach:
    def test_it_traces_nobody_but_its_own(self, host):
        program = (
            "import ctypes, os, subprocess\nlibc = ctypes.CDLL(None)\nown = subprocess.Popen(['sleep', '9'])\n"
            f"for pid in (own.pid, {host.process.pid}): print(libc.ptrace(16, pid, None, None))\n"  # PTRACE_ATTACH
            f"try: open('/proc/{host.process.pid}/mem', 'rb').close(); print('opened')\n"
            "except OSError: print('refused')\nown.kill()\n"
        )
        end, log = _ran(host, program)
        # Its own child it may trace, so the refusals are refusals.
        assert log == b"0\n-1\nrefused\n"
        assert end["outcome"] == "SUCCEEDED"

    def test_it_finds_no_secret_in_what_it_can_read(self, host):
        script = f"cat /proc/*/environ /proc/*/cmdline {host.state}/* 2>/dev/null | head -c 90000"
        _, log = _ran(host, f"#!/bin/sh\n{script}")
        assert log
        assert SECRET.encode() not in log

    @pytest.mark.parametrize("name", ["../escape", "../../escape", "/task/escape", "/escape", "output/../../escape"])
    def test_it_writes_nowhere_but_in_its_folders(self, host, name):
        _, log = _ran(
            host,
            f"import os\nos.chdir('/task/output')\nopen('inside', 'w').close(); print('inside')\n"
            f"try: open({name!r}, 'w').close(); print('written')\nexcept OSError: print('refused')\n",
        )
        assert log == b"inside\nrefused\n"
        assert not [path for path in _files(host.folder) if path.name == "escape"]


class TestDevices:
    def test_it_opens_its_own_gpus_node_and_finds_and_makes_no_other(self, tmp_path):
        """Nodes that stand for two GPUs, one of which is the task's; they are really `null`."""
        if (why := bubblewrap.unusable("bwrap")) is not None:
            pytest.skip(f"bubblewrap cannot be used here: {why}")
        own, other = (Path(f"/dev/gaas-test-{os.getpid()}-gpu{number}") for number in range(2))
        try:
            for node in (own, other):
                os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 3))
                node.chmod(0o666)
        except PermissionError:
            pytest.skip("making device nodes takes root")
        try:
            self._look(tmp_path / "box", own, other)
        finally:
            own.unlink()
            other.unlink()

    def _look(self, box, own, other):
        program = (
            "import os, stat\n"
            f"os.close(os.open({str(own)!r}, os.O_RDWR)); print([n for n in os.listdir('/dev') if 'gaas' in n])\n"
            f"for path, mode in (({str(other)!r}, None), ('/task/work/n', stat.S_IFCHR | 0o666)):\n"
            "    try:\n        if mode: os.mknod(path, mode, os.makedev(1, 3))\n"
            "        os.close(os.open(path, os.O_RDWR)); print('opened')\n"
            "    except OSError: print('refused')\n"
        )
        for name in ("work", "output", "input", "checkpoint", "serve", "tmp"):
            (box / name).mkdir(parents=True)
        read, write = os.pipe()
        try:
            command = bubblewrap.arguments(
                "bwrap", box, network=False, ro_binds=[], device_nodes=[str(own)], tmp_mib=16, data={}, status_fd=write
            )
            ran = subprocess.run(
                ["bwrap", *command, "--", "python3", "-c", program],
                pass_fds=[write], capture_output=True, text=True, timeout=PATIENCE, check=False,
            )  # fmt: skip
        finally:
            os.close(read)
            os.close(write)
        assert ran.stdout == f"['{own.name}']\nrefused\nrefused\n", ran.stderr


class TestFiles:
    def test_a_hundred_thousand_are_capped_and_said(self, host):
        program = (
            "import os; os.chdir('/task/output')\nfor n in range(100_000): os.close(os.open(str(n), os.O_CREAT))\n"
        )
        end, _ = _ran(host, program, max_artifacts=20)
        assert (end["outcome"], len(end["artifacts"])) == ("SUCCEEDED", 20)
        assert "and 99977 more: at most 20 files are kept." in end["files_note"]


class TestResult:
    @pytest.mark.parametrize(
        ("how", "said"),
        [
            ("os.symlink('/etc/passwd', path)", "link"),
            ("os.mkfifo(path)", "not a plain file"),
            ("os.mkdir(path)", "not a plain file"),
            ("open(path, 'w').write('[' * 5000)", "nested"),
            ("open(path, 'w').write('NaN')", "NaN"),
            ("open(path, 'w').write('1' * 400)", "too long"),
            ("open(path, 'w').write('\"' + 'x' * 70000 + '\"')", "larger than 64 KiB"),
            ("open(path, 'wb').write(bytes([255, 254]))", "not taken"),
            ("import socket; socket.socket(socket.AF_UNIX).bind(path)", "not taken"),
        ],
        ids=["link", "fifo", "folder", "deep", "nan", "digits", "large", "bytes", "socket"],
    )
    def test_it_takes_no_hostile_one_and_says_so(self, host, how, said):
        end, _ = _ran(host, f"import os\npath = '/task/output/result.json'\n{how}\n")
        assert (end["outcome"], end["result"]) == ("SUCCEEDED", None)
        assert said in end["detail"]


class TestLog:
    def test_ten_gigabytes_are_cut_and_fill_nothing(self, host):
        size = 10 << 30 if os.environ.get("ESCAPES_LONG") else 200 << 20
        end, log = _ran(host, f"#!/bin/sh\nyes | head -c {size}; echo end", max_log_bytes=LOG_BYTES)
        assert len(log) <= LOG_BYTES
        assert log.endswith(b"bytes]\n")
        assert end["outcome"] == "SUCCEEDED"
        assert end["log_sha256"] == hashlib.sha256(log).hexdigest()
        assert sum(_size(path) for path in _files(host.folder)) < 1 << 30

    def test_any_bytes_arrive_as_they_are(self, host):
        end, log = _ran(
            host,
            r"""#!/bin/sh
printf '\377\376\000\033[2J\033]0;x\007\r<script>'""",
        )
        assert log == b"\xff\xfe\x00\x1b[2J\x1b]0;x\x07\r<script>"
        assert end["outcome"] == "SUCCEEDED"


class TestProgress:
    def test_abuse_changes_nothing_and_the_last_good_line_stands(self, host):
        program = (
            "import os\nfd = int(os.environ['GAAS_PROGRESS_FD'])\n"
            "def say(line): os.write(fd, line + b'\\n')\n"
            "say(b'x' * 3_000_000)\nsay(b'{' * 4000)\nsay(b'{\"step\": NaN}')\nsay(b'{\"step\": 1e999}')\n"
            "say(b'\\xff\\xfe')\nsay(b'[1]')\nsay(b'{\"metrics\": {\"loss\": Infinity}}')\n"
            "for n in range(100_000): say(b'{\"step\": %d}' % n)\nsay(b'{\"step\": 18446744073709551616}')\n"
            "os.close(fd)\nprint('done')\n"
        )
        work = host.peer.offer(payload={"script": f"#!/usr/bin/env python3\n{program}"}, limit_ms=LIMIT_MS)
        end = host.peer.until_finished(work, PATIENCE)
        assert (end["outcome"], bytes(work.log)) == ("SUCCEEDED", b"done\n")
        assert work.progress[-1] == {"step": 99_999}


class TestCancel:
    def test_no_process_outlives_it_however_it_hides(self, host):
        name = mark()
        program = (
            "import os, signal, time\nfor number in (1, 2, 3, 15): signal.signal(number, signal.SIG_IGN)\n"
            "for _ in range(6):\n    if os.fork() == 0:\n        os.setsid()\n        if os.fork(): os._exit(0)\n"
            f"        os.execvpe('sleep', ['sleep', '{name}'], {{}})\n"
            "print('up', flush=True)\ntime.sleep(600)\n"
        )
        work = host.peer.offer(payload={"script": f"#!/usr/bin/env python3\n{program}"}, limit_ms=LIMIT_MS)
        host.peer.until(lambda: b"up" in work.log, PATIENCE, "the program")
        wait_for(lambda: how_many_run(name) == 6, PATIENCE, "all that hide")
        host.peer.cancel(work, grace_ms=300)
        end = host.peer.until_finished(work, PATIENCE)
        assert end["outcome"] == "CANCELLED"
        assert not is_running(name)
