"""A registry of container images on loopback, as small as an engine accepts it: one image, and a log-in where asked."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
BUSYBOX = Path("/bin/busybox")
TOOLS = (
    "sh", "cat", "ls", "echo", "sleep", "dd", "seq", "id", "env", "mount", "ln", "mkdir", "mknod", "wget", "setsid",
    "kill", "ps", "true", "false", "nc", "ip", "stat", "touch", "rm", "find", "grep", "head", "tr", "ifconfig", "chmod",
)  # fmt: skip


def box_layer(extra: dict[str, str | bytes] | None = None) -> bytes:
    """Make a root file system of busybox alone, with scripts or programs by name where some are given."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:

        def add(name: str, data: bytes = b"", mode: int = 0o755, kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.type, entry.linkname, entry.size = mode, kind, link, len(data)
            tar.addfile(entry, io.BytesIO(data))

        for folder in ("bin", "etc", "proc", "sys", "dev", "root", "home"):
            add(folder, kind=tarfile.DIRTYPE)
        add("tmp", mode=0o1777, kind=tarfile.DIRTYPE)
        add("bin/busybox", BUSYBOX.read_bytes())
        for tool in TOOLS:
            add(f"bin/{tool}", kind=tarfile.SYMTYPE, link="busybox")
        add("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", 0o644)
        for name, text in (extra or {}).items():
            add(name, text.encode() if isinstance(text, str) else text)
    return packed.getvalue()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Registry:
    """Serve one image as `box`, to all or to whoever logs in, and let `stuck` wait for ever."""

    def __init__(self, *, needs_login: bool = False):
        self.user, self.password = "robot", "a-registry-password"
        self.needs_login = needs_login
        self.asked: list[str] = []
        self.closing = threading.Event()
        layer = box_layer()
        packed = gzip.compress(layer, 1, mtime=0)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            }
        ).encode()
        self.blobs = {_digest(packed): packed, _digest(config): config}
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {
                    "mediaType": "application/vnd.docker.container.image.v1+json",
                    "size": len(config),
                    "digest": _digest(config),
                },
                "layers": [
                    {
                        "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                        "size": len(packed),
                        "digest": _digest(packed),
                    }
                ],
            }
        ).encode()
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                registry.answer(self)

            def do_HEAD(self) -> None:
                registry.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def image(self, name: str) -> str:
        return f"127.0.0.1:{self.port}/{name}:1"

    @property
    def login(self) -> dict[str, str]:
        return {"server": f"127.0.0.1:{self.port}", "username": self.user, "password": self.password}

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def _is_admitted(self, http: BaseHTTPRequestHandler) -> bool:
        wanted = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return http.headers.get("Authorization") == f"Basic {wanted}"

    def answer(self, http: BaseHTTPRequestHandler) -> None:
        self.asked.append(http.path)
        parts = http.path.strip("/").split("/")
        if self.needs_login and not self._is_admitted(http):
            return self._send(http, 401, *self._refusal("UNAUTHORIZED", "authentication required"))
        if parts == ["v2"]:
            return self._send(http, 200, b"{}", "application/json")
        if parts[1] in ("box", "stuck") and parts[2] == "manifests":
            if parts[1] == "stuck":
                self.closing.wait(60)
            return self._send(http, 200, self.manifest, MANIFEST)
        if parts[1] == "box" and parts[2] == "blobs" and parts[3] in self.blobs:
            return self._send(http, 200, self.blobs[parts[3]], "application/octet-stream")
        return self._send(http, 404, *self._refusal("MANIFEST_UNKNOWN", "manifest unknown"))

    def _refusal(self, code: str, message: str) -> tuple[bytes, str]:
        return json.dumps({"errors": [{"code": code, "message": message}]}).encode(), "application/json"

    def _send(self, http: BaseHTTPRequestHandler, status: int, data: bytes, kind: str) -> Any:
        http.send_response(status)
        http.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        http.send_header("Content-Type", kind)
        http.send_header("Content-Length", str(len(data)))
        if "json" in kind or kind == MANIFEST:
            http.send_header("Docker-Content-Digest", _digest(data))
        if status == 401:
            http.send_header("WWW-Authenticate", 'Basic realm="test"')
        http.end_headers()
        if http.command != "HEAD":
            http.wfile.write(data)
