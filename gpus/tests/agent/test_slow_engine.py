"""An engine of containers that is slow: what else runs on the host must not suffer from it."""

from __future__ import annotations

import json
import os
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

import pytest

from gpus.agent import usable
from gpus.agent.config import Config
from gpus.agent.executors.container import ContainerExecutor

from .host import Host, wait_for

INFO = {"OSType": "linux", "SecurityOptions": ["name=seccomp,profile=builtin"]}


class SlowEngine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answer what it is at once, and which containers there are only when told to."""

    daemon_threads = True

    def __init__(self, path: str, **info: object) -> None:
        self.asked, self.answers = threading.Event(), threading.Event()
        # Cleared, it does not even say what it is.
        self.says, self.hangs = threading.Event(), threading.Event()
        self.says.set()
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                if "/info" in self.path and not engine.says.is_set():
                    engine.hangs.set()
                    engine.says.wait(60)
                if "/containers/" in self.path:
                    engine.asked.set()
                    engine.answers.wait(60)
                body = json.dumps([] if "/containers/" in self.path else {**INFO, **info}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        super().__init__(path, Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def slow(tmp_path):
    engine = SlowEngine(str(tmp_path / "engine.sock"))
    yield engine
    engine.answers.set()
    engine.says.set()
    engine.shutdown()
    engine.server_close()


class TestSlowEngine:
    def test_it_does_not_hold_up_the_first_sync(self, peer, tmp_path, slow):
        host = Host(peer, tmp_path, engine=str(tmp_path / "engine.sock"))
        try:
            host.run()
            assert slow.asked.wait(60)
            end = peer.until_finished(peer.offer(payload={"script": "echo on"}))
            assert not slow.answers.is_set()
            assert end["outcome"] == "SUCCEEDED"
        finally:
            host.close()

    def test_one_that_does_not_say_what_it_is_delays_no_sync(self, peer, tmp_path, slow):
        slow.says.clear()
        host = Host(peer, tmp_path, engine=str(tmp_path / "engine.sock"))
        try:
            host.run()
            assert slow.hangs.wait(60)
            end = peer.until_finished(peer.offer(payload={"script": "echo on"}))
            assert end["outcome"] == "SUCCEEDED"
            assert not slow.says.is_set()
            assert {tuple(sync["facts"]["executors"]) for sync in peer.syncs} == {("process",)}
            slow.says.set()
            wait_for(lambda: peer.syncs[-1]["facts"]["executors"] == ["container", "process"], what="the new fact")
        finally:
            host.close()


class TestWhy:
    def test_the_log_says_once_why_one_cannot_be_used(self, tmp_path, caplog):
        socket, changes = str(tmp_path / "engine.sock"), []
        asked = usable.Usable(Config(server="http://127.0.0.1:9", engine=socket), lambda: changes.append(asked.names()))
        caplog.set_level("INFO", logger="gaas.agent")
        for _ in range(2):
            asked.ask(30)
        assert asked.names() == ["process"]
        (said,) = [line for line in caplog.messages if line.startswith("container:")]
        assert "cannot be used" in said
        assert "engine.sock" in said
        engine = SlowEngine(socket)
        try:
            asked.ask(30)
        finally:
            engine.shutdown()
            engine.server_close()
        assert changes == [["process"], ["container", "process"]]
        assert caplog.messages[-1] == "container: can be used"

    @pytest.mark.parametrize(
        ("cgroups", "owner", "works"), [("1", 1234, False), ("1", 0, True), ("2", 1234, True)], ids=str
    )
    def test_a_podman_that_ignores_limits_is_not_used(self, tmp_path, cgroups, owner, works):
        if os.geteuid() != 0 and owner != os.geteuid():
            pytest.skip("giving a socket away takes root")
        socket = tmp_path / "podman.sock"
        engine = SlowEngine(str(socket), Components=[{"Name": "Podman Engine"}], CgroupVersion=cgroups)
        os.chown(socket, owner, owner)
        try:
            why = ContainerExecutor.unusable(Config(server="http://127.0.0.1:9", engine=str(socket)))
        finally:
            engine.shutdown()
            engine.server_close()
        assert (why is None) == works
        assert works or "limits neither memory nor processes" in why
