"""An engine of containers that is slow: what else runs on the host must not suffer from it."""

from __future__ import annotations

import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

import pytest

from .host import Host

INFO = {"OSType": "linux", "SecurityOptions": ["name=seccomp,profile=builtin"]}


class SlowEngine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answer what it is at once, and which containers there are only when told to."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        self.asked, self.answers = threading.Event(), threading.Event()
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                if "/containers/" in self.path:
                    engine.asked.set()
                    engine.answers.wait(60)
                body = json.dumps([] if "/containers/" in self.path else INFO).encode()
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
    engine.shutdown()
    engine.server_close()


class TestSlowEngine:
    def test_it_does_not_hold_up_the_first_sync(self, peer, tmp_path, slow):
        host = Host(peer, tmp_path, engine=str(tmp_path / "engine.sock"))
        try:
            host.run()
            assert slow.asked.wait(15)
            end = peer.until_finished(peer.offer(payload={"script": "echo on"}), 30)
            assert not slow.answers.is_set()
            assert end["outcome"] == "SUCCEEDED"
        finally:
            host.close()
