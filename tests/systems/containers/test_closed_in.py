"""What a program in a container tries against its host and other tasks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpus.tests.agent.host import Host, how_many_run, mark
from gpus.tests.agent.peer import SECRET
from tests.systems.containers.hosts import MAX_PROCESSES, end_of, go_on, offer, said, until_said


@pytest.mark.parametrize(
    "socket", ["docker", pytest.param("podman", marks=pytest.mark.long)], indirect=True, scope="session"
)
class TestEscapes:
    """Each with a control first: what the task may do works."""

    def test_it_sees_nothing_of_the_host(self, shared: Host) -> None:
        other = offer(shared, "echo private > $GAAS_OUTPUT/secret; echo ready; sleep 1000")
        until_said(shared, other, "ready")
        state, home = shared.state, Path.home()
        paths = [state / "credential.json", state, shared.folder_of(other), home / ".ssh", home / ".bashrc"]
        paths += [Path(name) for name in ("/etc/shadow", "/run/docker.sock", "/run/podman/podman.sock")]
        script = "cat /etc/passwd >/dev/null && echo control; " + "".join(
            f"if [ -e '{path}' ] && cat '{path}' 2>/dev/null; then echo LEAK {path}; fi; ls -A '{path}' 2>/dev/null;"
            for path in paths
        )
        script += " cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; ps; true"
        work = offer(shared, script)
        end_of(shared, work)
        log = said(work)
        assert "control" in log
        assert "LEAK" not in log
        assert SECRET not in log
        assert "credential" not in log
        assert "private" not in log
        assert "AGENT_ONLY_VARIABLE" not in log
        assert "python" not in log  # no process of the host
        shared.peer.cancel(other)
        end_of(shared, other)

    def test_it_has_no_right_and_no_device(self, shared: Host) -> None:
        script = """
            touch work-is-mine && echo control
            grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status
            id -u
            touch /bin/x 2>/dev/null && echo ESCAPED root is writable
            mount -t tmpfs none /task/work 2>/dev/null && echo ESCAPED mount
            mount -o remount,rw / 2>/dev/null && echo ESCAPED remount
            mknod /task/work/disk b 8 0 2>/dev/null && echo ESCAPED mknod
            mknod /tmp/mem c 1 1 2>/dev/null && echo ESCAPED mknod
            echo x > /task/input/script 2>/dev/null && echo ESCAPED input is writable
            echo 1 > /proc/sys/kernel/panic 2>/dev/null && echo ESCAPED sysctl
            echo c > /proc/sysrq-trigger 2>/dev/null && echo ESCAPED sysrq
            for d in /dev/*; do [ -b $d ] && echo ESCAPED $d; done
            ls /dev/nvidia* /dev/mem /dev/kmsg /dev/kvm /dev/fuse 2>/dev/null && echo ESCAPED device
            cat /proc/kcore 2>/dev/null | head -c 1 | grep -q . && echo ESCAPED kcore
            true
        """
        work = offer(shared, script)
        end_of(shared, work)
        log = said(work)
        assert "control" in log
        assert "ESCAPED" not in log
        assert "CapEff:\t0000000000000000" in log
        assert "CapBnd:\t0000000000000000" in log
        assert "NoNewPrivs:\t1" in log
        assert "Seccomp:\t2" in log
        assert "\n0\n" not in log

    def test_it_has_no_network(self, shared: Host) -> None:
        port = shared.peer.server.server_port
        script = f"""
            echo control
            echo networks: $(ls /sys/class/net)
            echo | nc -w 2 127.0.0.1 {port} && echo ESCAPED to the host
            wget -q -T 2 -O - http://169.254.169.254/ && echo ESCAPED to metadata
            true
        """
        work = offer(shared, script)
        end_of(shared, work)
        assert "control" in said(work)
        assert "ESCAPED" not in said(work)
        assert "networks: lo" in said(work).splitlines()

    def test_it_cannot_trace_or_signal_what_is_outside(self, shared: Host) -> None:
        outside = os.getpid()
        script = f"""
            kill -0 $$ && echo control
            kill -0 {outside} 2>/dev/null && echo ESCAPED
            cat /proc/{outside}/cmdline 2>/dev/null && echo ESCAPED
            cat /proc/1/mem 2>/dev/null | head -c 1 | grep -q . && echo ESCAPED
            true
        """
        work = offer(shared, script)
        end_of(shared, work)
        assert "control" in said(work)
        assert "ESCAPED" not in said(work)

    def test_it_does_not_fill_memory_through_tmp_nor_the_machine_with_processes(self, shared: Host) -> None:
        number = mark()
        # The loop ends where no more are to be had, and what waits for `go` may make none.
        script = f"""
            dd if=/dev/zero of=/tmp/full bs=1M count=100 2>&1 | grep -q 'No space' && echo capped
            (n=0; while [ $n -lt {MAX_PROCESSES * 2} ]; do sleep {number} & n=$((n+1)); done) 2>/dev/null
            echo after
            until [ -e go ]; do :; done
        """
        work = offer(shared, script)
        until_said(shared, work, "after")
        many = how_many_run(number)
        go_on(shared, work)
        end_of(shared, work)
        assert "capped" in said(work)
        assert MAX_PROCESSES // 2 < many <= MAX_PROCESSES

    def test_a_link_out_of_the_output_is_not_followed(self, shared: Host) -> None:
        work = offer(shared, f"ln -s {shared.state / 'credential.json'} $GAAS_OUTPUT/result.json")
        end = end_of(shared, work)
        assert end["outcome"] == "SUCCEEDED"
        assert end["result"] is None
        assert "link" in end["detail"]
