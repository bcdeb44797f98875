"""Tasks in containers of a real Docker engine and of real Podman, by the real agent."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gpus.agent.config import Config
from gpus.agent.executors.container import ContainerExecutor, check_gpus, limits
from gpus.agent.executors.engine import Engine
from gpus.agent.phase import Unprepared
from gpus.agent.relays import connect_to
from gpus.tests.agent.host import Host, is_running, mark, wait_for
from gpus.tests.agent.peer import SECRET, Peer, Work
from tests.peers import Missing
from tests.systems.conftest import not_run
from tests.systems.containers import (
    IMAGE,
    SERVE_IMAGE,
    SMI_IMAGE,
    SMI_UUID,
    SOCKETS,
    import_images,
    import_serving_image,
    process_limit,
    rootless_podman_socket,
)
from tests.systems.registry import Registry

MAX_PROCESSES = 100
ROOTLESS_USER = 5  # an ordinary user that every Debian has


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    registry = Registry()
    yield registry
    registry.close()


@pytest.fixture(scope="module")
def closed() -> Iterator[Registry]:
    """A registry that asks for a log-in."""
    registry = Registry(needs_login=True)
    yield registry
    registry.close()


@pytest.fixture(scope="module", params=list(SOCKETS))
def socket(request: pytest.FixtureRequest, registry: Registry, closed: Registry) -> Iterator[str]:
    """The socket of an engine that has the image."""
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(SOCKETS[request.param](registry, closed))
            import_images(path)
        except Missing as why:
            not_run(f"{request.param}: {why}")
        yield path


@pytest.fixture(scope="module")
def engine(socket: str) -> Engine:
    return Engine(socket)


def a_host(peer: Peer, folder: Path, socket: str) -> Host:
    folder.chmod(0o755)
    host = Host(peer, folder, engine=socket)
    with host.config.open("a") as config:
        config.write(f"max_processes = {MAX_PROCESSES}\ntmp_mib = 32\n")
    return host


@pytest.fixture(scope="module")
def shared(socket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host at work that the tests of an engine share; they leave it as they found it."""
    peer = Peer()
    host = a_host(peer, tmp_path_factory.mktemp("host"), socket)
    host.run()
    yield host
    host.close()
    peer.close()


@pytest.fixture
def own(socket: str, tmp_path: Path) -> Iterator[Host]:
    """A host for a test that kills its agent."""
    peer = Peer()
    host = a_host(peer, tmp_path, socket)
    yield host
    host.close()
    peer.close()


def offer(host: Host, script: str = "", **given: object) -> Work:
    payload: dict[str, object] = {"image": IMAGE, **({"script": script} if script else {})}
    payload |= given.pop("payload", {})  # type: ignore[call-overload]
    return host.peer.offer(executor="container", payload=payload, **given)


def end_of(host: Host, work: Work, seconds: float = 60) -> dict:
    try:
        return host.peer.until_finished(work, seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}; {host.said()[-3000:]}") from None


def said(work: Work) -> str:
    return bytes(work.log).decode(errors="replace")


def containers_of(engine: Engine, work: Work) -> list[dict]:
    return engine.labelled(f"gaas.attempt={work.assignment.id}")


class TestRun:
    def test_it_runs_a_script_and_takes_its_result(self, shared: Host, engine: Engine) -> None:
        script = 'echo hello; echo oops >&2; pwd; echo "{\\"loss\\": 0.5}" > $GAAS_OUTPUT/result.json'
        work = offer(shared, script)
        end = end_of(shared, work)
        assert (end["outcome"], end["fault"], end["exit_code"], end["code"]) == ("SUCCEEDED", "none", 0, "")
        assert sorted(said(work).split()) == ["/task/work", "hello", "oops"]
        assert end["log_sha256"] == hashlib.sha256(work.log).hexdigest()
        assert end["result"] == {"loss": 0.5}
        assert (work.starts, shared.starts(work)) == (1, 1)
        wait_for(lambda: not shared.folder_of(work).exists(), what="the folder to go")
        wait_for(lambda: not containers_of(engine, work), what="the container to go")

    def test_it_offers_both_ways_of_running(self, shared: Host) -> None:
        assert shared.peer.syncs[-1]["facts"]["executors"] == ["container", "process"]

    def test_it_reports_exit_codes_and_signals(self, shared: Host) -> None:
        end = end_of(shared, offer(shared, "exit 7"))
        assert (end["outcome"], end["fault"], end["exit_code"], end["code"]) == ("FAILED", "user", 7, "exit_code")
        end = end_of(shared, offer(shared, payload={"command": ["sh", "-c", "kill -SEGV $$"]}))
        assert (end["outcome"], end["fault"], end["exit_code"]) == ("FAILED", "user", 139)

    def test_it_says_that_a_command_is_not_in_the_image(self, shared: Host) -> None:
        end = end_of(shared, offer(shared, payload={"command": ["no-such-program"]}))
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "user", "command_not_found")
        assert "in the image" in end["detail"]

    def test_it_ends_what_takes_too_long(self, shared: Host, engine: Engine) -> None:
        work = offer(shared, "sleep 100", limit_ms=2000)
        end = end_of(shared, work)
        assert (end["outcome"], end["fault"], end["code"]) == ("TIMED_OUT", "user", "time_limit")
        assert end["elapsed_ms"] >= 2000
        wait_for(lambda: not containers_of(engine, work), what="the container to go")

    @pytest.mark.parametrize("place", ["program", "child"])
    def test_it_tells_when_memory_ran_out(self, shared: Host, place: str) -> None:
        hog = ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"]
        command = hog if place == "program" else ["sh", "-c", f"{' '.join(hog)}; exit $?"]
        end = end_of(shared, offer(shared, payload={"command": command, "memory_mib": 32}))
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "user", "out_of_memory")

    def test_it_streams_the_log_and_the_progress(self, shared: Host) -> None:
        work = offer(shared, "echo first; echo 'GAAS_PROGRESS {\"step\": 1}' >&$GAAS_PROGRESS_FD; sleep 3; echo last")
        shared.peer.until(lambda: b"first" in work.log and {"step": 1} in work.progress, 30, "the first line")
        assert work.finish is None
        end_of(shared, work)
        assert said(work).splitlines()[-1] == "last"

    @pytest.mark.long
    def test_it_ships_a_large_log_whole_and_cuts_a_larger_one(self, shared: Host) -> None:
        work = offer(shared, payload={"command": ["seq", "200000"]})
        end_of(shared, work)
        assert bytes(work.log) == b"".join(b"%d\n" % number for number in range(1, 200_001))
        work = offer(shared, payload={"command": ["dd", "if=/dev/zero", "bs=1M", "count=300"]}, max_log_bytes=8192)
        assert end_of(shared, work)["outcome"] == "SUCCEEDED"
        assert len(work.log) <= 8192
        assert "log cut at" in said(work)

    def test_it_gives_the_environment_and_no_gpu_that_is_not_the_tasks(self, shared: Host) -> None:
        gpu = shared.peer.syncs[-1]["gpus"][0]["uuid"]
        env = {"MINE": "a b", "NVIDIA_VISIBLE_DEVICES": "all"}
        work = offer(shared, "env", env=env, gpu_uuids=[gpu])
        end_of(shared, work)
        names = dict(line.split("=", 1) for line in said(work).splitlines())
        assert (names["MINE"], names["GAAS_SIMULATED_GPUS"], names["NVIDIA_VISIBLE_DEVICES"]) == ("a b", "1", "void")
        assert (names["GAAS_OUTPUT"], names["HOME"]) == ("/task/output", "/task/work")


class TestStop:
    def test_a_cancel_gives_time_to_save(self, shared: Host) -> None:
        script = "trap 'echo saved > $GAAS_OUTPUT/kept; echo saving; exit 0' TERM; echo ready; sleep 100 & wait"
        work = offer(shared, script)
        shared.peer.until(lambda: b"ready" in work.log, 30, "the start")
        shared.peer.cancel(work, grace_ms=5000)
        assert end_of(shared, work)["outcome"] == "CANCELLED"
        assert "saving" in said(work)

    def test_a_cancel_leaves_no_fork_bomb_and_no_daemon(self, shared: Host, engine: Engine) -> None:
        number = mark()
        script = f"""
            setsid sleep {number} </dev/null >/dev/null 2>&1 &
            trap '' TERM
            bomb() {{ bomb | bomb & sleep 0.2; }}
            echo ready
            until [ -e go ]; do sleep 0.1; done
            (while true; do (bomb) 2>/dev/null; done) &
            echo bombing
            exec sleep 1000
        """
        work = offer(shared, script)
        shared.peer.until(lambda: b"ready" in work.log, 30, "the start")
        wait_for(lambda: is_running(number), what="the daemon")
        # Not before it is sure that the machine goes on for everybody.
        [container] = containers_of(engine, work)
        assert process_limit(engine.inspect(container["Id"])["State"]["Pid"]) == MAX_PROCESSES
        (shared.folder_of(work) / "box" / "work" / "go").touch()
        shared.peer.until(lambda: b"bombing" in work.log, 30, "the bomb")
        time.sleep(1)
        shared.peer.cancel(work, grace_ms=500)
        assert end_of(shared, work)["outcome"] == "CANCELLED"
        assert not is_running(number)
        wait_for(lambda: not containers_of(engine, work), what="the container to go")

    def test_what_a_program_leaves_behind_ends_with_it(self, shared: Host) -> None:
        number = mark()
        work = offer(shared, f"setsid sleep {number} </dev/null >/dev/null 2>&1 & sleep 0.5; echo done")
        assert end_of(shared, work)["outcome"] == "SUCCEEDED"
        assert not is_running(number)

    def test_a_cancel_ends_a_pull(self, shared: Host, registry: Registry) -> None:
        work = offer(shared, "true", payload={"image": registry.image("stuck")})

        def phases() -> list[str]:
            held = [attempt for sync in shared.peer.syncs[-5:] for attempt in sync["attempts"]]
            return [a["phase"]["text"] for a in held if a["id"] == work.assignment.id and a.get("phase")]

        shared.peer.until(lambda: any("Pulling" in text for text in phases()), 30, "the pull to be told")
        assert work.starts == 0
        shared.peer.cancel(work)
        assert end_of(shared, work, 10)["outcome"] == "CANCELLED"


class TestImages:
    def test_it_pulls_an_image(self, shared: Host, registry: Registry) -> None:
        work = offer(shared, "echo from a registry", payload={"image": registry.image("box")})
        assert end_of(shared, work)["outcome"] == "SUCCEEDED"
        assert "from a registry" in said(work)

    def test_an_image_that_does_not_exist_is_the_users(self, shared: Host, registry: Registry) -> None:
        end = end_of(shared, offer(shared, "true", payload={"image": registry.image("absent")}))
        assert (end["outcome"], end["fault"], end["code"]) == ("REFUSED", "user", "image_not_found")
        assert "absent" in end["detail"]

    @pytest.mark.long
    def test_a_registry_that_does_not_answer_is_not(self, shared: Host) -> None:
        end = end_of(shared, offer(shared, "true", payload={"image": "127.0.0.1:9/box:1"}))
        assert (end["outcome"], end["fault"], end["code"]) == ("REFUSED", "host", "image_pull_failed")

    @pytest.mark.long
    def test_an_image_that_may_not_be_pulled_is_placed_elsewhere(self, shared: Host, registry: Registry) -> None:
        image = registry.image("never")
        end = end_of(shared, offer(shared, "true", payload={"image": image, "image_pull": "never"}))
        assert (end["outcome"], end["fault"], end["code"]) == ("REFUSED", "host", "image_missing")

    def test_a_private_image_needs_the_log_in_of_whoever_uses_it(self, shared: Host, closed: Registry) -> None:
        image = closed.image("box")
        end = end_of(shared, offer(shared, "true", payload={"image": image}))
        assert (end["fault"], end["code"]) == ("user", "image_denied")
        work = offer(shared, "echo let in", payload={"image": image}, registry=closed.login)
        assert end_of(shared, work)["outcome"] == "SUCCEEDED"
        # It lies on the host now, and is still for nobody else.
        end = end_of(shared, offer(shared, "true", payload={"image": image}))
        assert (end["fault"], end["code"]) == ("user", "image_denied")
        wrong = closed.login | {"password": "guessed"}
        end = end_of(shared, offer(shared, "true", payload={"image": image}, registry=wrong))
        assert (end["fault"], end["code"]) == ("user", "image_denied")

    @pytest.mark.long
    def test_its_password_stays_nowhere(self, shared: Host, closed: Registry) -> None:
        work = offer(shared, "env; sleep 3", payload={"image": closed.image("box")}, registry=closed.login)
        shared.started(work)
        kept = [path for path in shared.state.rglob("*") if path.is_file()]
        assert not [path for path in kept if closed.password.encode() in path.read_bytes()]
        end_of(shared, work)
        assert closed.password not in said(work) + shared.said()


class TestRecovery:
    def test_an_agent_that_was_killed_finds_its_container_again(self, own: Host, engine: Engine) -> None:
        own.run()
        work = offer(own, "echo before; sleep 4; echo after")
        own.peer.until(lambda: b"before" in work.log, 30, "the start")
        own.kill()
        own.run()
        end = end_of(own, work)
        assert (end["outcome"], said(work)) == ("SUCCEEDED", "before\nafter\n")
        assert (work.starts, own.starts(work)) == (1, 1)
        wait_for(lambda: not containers_of(engine, work), what="the container to go")

    @pytest.mark.long
    def test_an_end_while_no_agent_ran_is_told_later(self, own: Host) -> None:
        own.run()
        work = offer(own, "echo before; sleep 1; echo after; exit 3")
        own.peer.until(lambda: b"before" in work.log, 30, "the start")
        own.kill()
        time.sleep(2.5)
        own.run()
        end = end_of(own, work)
        assert (end["exit_code"], said(work)) == (3, "before\nafter\n")

    @pytest.mark.long
    def test_a_supervisor_that_was_killed_takes_its_container_along(self, own: Host, engine: Engine) -> None:
        own.run()
        number = mark()
        work = offer(own, f"sleep {number}")
        supervisor = own.started(work)["supervisor"]
        wait_for(lambda: is_running(number), what="the program")
        os.kill(supervisor, signal.SIGKILL)
        end = end_of(own, work)
        assert (end["outcome"], end["fault"], end["code"]) == ("FAILED", "host", "supervisor_lost")
        assert not is_running(number)
        assert not containers_of(engine, work)

    @pytest.mark.long
    def test_no_container_outlives_both_agent_and_supervisor(self, own: Host, engine: Engine) -> None:
        own.run()
        number = mark()
        work = offer(own, f"sleep {number}")
        supervisor = own.started(work)["supervisor"]
        wait_for(lambda: is_running(number), what="the program")
        own.kill()
        os.kill(supervisor, signal.SIGKILL)
        wait_for(lambda: not is_running(number), 20, "the program to end although nobody is there")
        wait_for(lambda: not containers_of(engine, work), 20, "the container to go")

    @pytest.mark.long
    def test_what_an_earlier_agent_left_is_removed_at_the_start(self, own: Host, engine: Engine) -> None:
        own.run()
        own.kill()
        session = (own.state / "session").read_text().strip()
        for name, agent in {"gaas-left-over": session, "gaas-of-another": "another-agent"}.items():
            engine.remove(name)
            labels = {"gaas.agent": agent, "gaas.attempt": "gone"}
            body = {"Image": IMAGE, "Cmd": ["true"], "Labels": labels, "HostConfig": {"NetworkMode": "none"}}
            engine.call("POST", "/containers/create", body, query={"name": name})
        own.run()
        wait_for(lambda: engine.inspect("gaas-left-over") is None, what="what was left to go")
        assert engine.inspect("gaas-of-another") is not None
        engine.remove("gaas-of-another")

    @pytest.mark.long
    def test_a_container_that_somebody_removes_is_the_hosts_fault(self, own: Host, engine: Engine) -> None:
        own.run()
        work = offer(own, "echo on; sleep 100")
        own.peer.until(lambda: b"on" in work.log, 30, "the start")
        engine.remove(f"gaas-{work.assignment.id}")
        end = end_of(own, work)
        assert (end["outcome"], end["fault"]) == ("FAILED", "host")


@pytest.mark.parametrize(
    "socket", ["docker", pytest.param("podman", marks=pytest.mark.long)], indirect=True, scope="module"
)
class TestEscapes:
    """Each with a control first: what the task may do works."""

    def test_it_sees_nothing_of_the_host(self, shared: Host) -> None:
        other = offer(shared, "echo private > $GAAS_OUTPUT/secret; echo ready; sleep 20")
        shared.peer.until(lambda: b"ready" in other.log, 30, "the other task")
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
        before = len(psutil.pids())
        script = f"""
            dd if=/dev/zero of=/tmp/full bs=1M count=100 2>&1 | grep -q 'No space' && echo capped
            n=0; while [ $n -lt {MAX_PROCESSES * 2} ]; do sleep 5 & n=$((n+1)); done 2>/dev/null
            echo after
        """
        work = offer(shared, script)
        wait_for(lambda: b"capped" in work.log or work.finish is not None, 40, "the disk to be full")
        most = 0
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline and work.finish is None:
            most = max(most, len(psutil.pids()))
            time.sleep(0.2)
        end_of(shared, work)
        assert "capped" in said(work)
        assert most - before < MAX_PROCESSES + 60

    def test_a_link_out_of_the_output_is_not_followed(self, shared: Host) -> None:
        work = offer(shared, f"ln -s {shared.state / 'credential.json'} $GAAS_OUTPUT/result.json")
        end = end_of(shared, work)
        assert end["outcome"] == "SUCCEEDED"
        assert end["result"] is None
        assert "link" in end["detail"]


class TestGpus:
    def _asking(self, image: str) -> dict:
        request = {"Driver": "nvidia", "DeviceIDs": [SMI_UUID], "Capabilities": [["gpu"]]}
        host = {"NetworkMode": "none", "LogConfig": {"Type": "none"}, "DeviceRequests": [request]}
        host["Ulimits"] = [{"Name": name, "Soft": soft, "Hard": hard} for name, (soft, hard) in limits().items()]
        return {"Image": image, "Entrypoint": ["nvidia-smi"], "Cmd": ["-L"], "HostConfig": host}

    def test_a_request_that_the_engine_leaves_aside_is_found_out(self, engine: Engine) -> None:
        with pytest.raises(Unprepared) as refused:
            check_gpus(engine, "gaas-check", self._asking(IMAGE), [SMI_UUID])
        assert (refused.value.fault, refused.value.code) == ("host", "gpu_missing")
        assert engine.inspect("gaas-check") is None

    def test_gpus_that_arrived_are_believed(self, engine: Engine) -> None:
        asking = self._asking(SMI_IMAGE)
        del asking["HostConfig"]["DeviceRequests"]
        check_gpus(engine, "gaas-check", asking, [SMI_UUID])
        with pytest.raises(Unprepared, match="1 of 2 GPUs did not arrive"):
            check_gpus(engine, "gaas-check", asking, [SMI_UUID, "GPU-of-somebody-else"])


class TestDoctor:
    @pytest.mark.long
    def test_it_names_the_engine(self, shared: Host) -> None:
        shown = subprocess.run(shared.command("doctor"), capture_output=True, text=True, check=False, timeout=60)
        assert "ok    containers" in shown.stdout


class TestServe:
    """A program in an image that answers on its Unix socket, without a network or a port."""

    @pytest.fixture
    def served(self, shared: Host, socket: str, tmp_path: Path) -> Iterator[Work]:
        try:
            import_serving_image(socket, tmp_path)
        except Missing as why:
            not_run(f"a program that serves: {why}")
        work = offer(shared, payload={"image": SERVE_IMAGE, "command": ["/bin/serve"], "serve": True})
        try:
            shared.peer.until(lambda: b"ready" in work.log, 60, f"it listens; {said(work)} {shared.said()[-2000:]}")
            yield work
        finally:
            shared.peer.cancel(work)
            end_of(shared, work)

    def test_the_agent_reaches_it(self, shared: Host, engine: Engine, served: Work) -> None:
        (container,) = containers_of(engine, served)
        assert set(container["NetworkSettings"]["Networks"] or {}) <= {"none"}
        path = shared.state / "attempts" / served.assignment.id / "box" / "serve" / "http"
        with connect_to(path) as service:
            service.sendall(b"GET /v1/models HTTP/1.1\r\nHost: task\r\n\r\n")
            answer = b""
            while part := service.recv(4096):
                answer += part
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"served by " in answer
        assert not answer.endswith(b"served by 0")

    def test_one_that_does_not_serve_has_no_such_folder(self, shared: Host) -> None:
        work = offer(shared, "ls -a /task; echo ${GAAS_SERVE_SOCKET-none}")
        end_of(shared, work)
        assert "serve" not in said(work).split()
        assert said(work).split()[-1] == "none"


class TestRootlessPodman:
    """Podman of an ordinary user, on a private socket."""

    def test_it_is_not_used_where_it_ignores_limits(self) -> None:
        """It takes limits on cgroups of version 1, and exits 0 without them: refused, whatever it says of itself."""
        try:
            with rootless_podman_socket(ROOTLESS_USER) as path:
                info = Engine(path).call("GET", "/info")
                why = ContainerExecutor.unusable(Config(server="http://127.0.0.1:9", engine=path))
        except Missing as missing:
            not_run(f"rootless podman: {missing}")
        assert info["MemoryLimit"]
        assert info["PidsLimit"]
        if info["CgroupVersion"] == "1":
            assert "limits neither memory nor processes" in (why or "it is used")
        else:
            assert why is None
