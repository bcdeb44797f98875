"""A small server that speaks the agent's protocol over real sockets, for the agent's tests alone.

It keeps the rules an agent relies on (seq, epoch, offsets, one start, one end) and nothing else: no
database, no users, no money. It can also be made to fail in the ways a real server and network do.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from gpus.agent.protocol import Assignment, FileToFetch, Stop, Timers

TOKEN, SECRET = "join-token", "gaash_secret-of-the-host"

TIMERS = Timers(lease_seconds=3, fence_seconds=20, sync_busy_seconds=0.5, sync_idle_seconds=0.5, wait_seconds=2)


class Refusal(Exception):
    def __init__(self, status: int, code: str, **extra: object):
        self.status = status
        errors = [{"code": code, "detail": f"{code}, says the peer", "attr": None}]
        self.body = {"type": "client_error", "errors": errors, **extra}


@dataclass
class Work:
    """One attempt as the server sees it."""

    assignment: Assignment
    status: str = "OFFERED"
    log: bytearray = field(default_factory=bytearray)
    starts: int = 0
    finish: dict | None = None
    finishes: int = 0
    stop: Stop | None = None
    is_lost: bool = False
    progress: list[dict] = field(default_factory=list)
    files: dict[tuple[str, str], bytearray] = field(default_factory=dict)  # by kind and name, as far as they came
    whole: dict[tuple[str, str], str] = field(default_factory=dict)  # their digests, once whole
    checkpoints: list[list[str]] = field(default_factory=list)


class Peer:
    """Hold the desired state; tests set it and look at what came of it."""

    def __init__(self, timers: Timers = TIMERS):
        self.timers = timers
        self.lock = threading.Condition()
        self.work: dict[str, Work] = {}
        self.revision = 1
        self.seq = 0
        self.session: str | None = None
        self.token: str | None = TOKEN
        self.secret: str | None = SECRET
        self.unknown_secret = "authentication_failed"
        self.syncs: list[dict] = []
        self.calls: list[str] = []
        self.is_silent = False
        self.is_conflicted = False
        self.lose_answers: list[str] = []  # verbs whose next answer is lost after it took effect
        self.break_log_once: int | None = None  # forget the log from this byte on, once
        self.hide_stops = False
        self.stored: dict[str, bytes] = {}  # what attempts fetch, by id
        self.fetched: list[tuple[str, int]] = []  # which, and from which byte on
        self.cut_after: int | None = None  # break a fetch off after so many bytes, once
        self.refuse_files: dict[str, tuple[int, str]] = {}  # by name: the refusal it gets
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *args: object) -> None:
                pass

            def do_POST(self) -> None:
                peer.answer(self)

            def do_GET(self) -> None:
                peer.answer(self)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: object) -> None:
                pass  # agents are killed in the middle of their calls here

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    # -- what tests do

    def offer(self, **given: object) -> Work:
        """Assign an attempt and wake the agent."""
        values = {
            "id": str(uuid.uuid4()),
            "epoch": 1,
            "task_id": str(uuid.uuid4()),
            "title": "a test",
            "kind": "script",
            "executor": "process",
            "payload": {"script": "true"},
            "env": {},
            "gpu_uuids": [],
            "limit_ms": 60_000,
            "grace_ms": 1000,
        } | given
        work = Work(Assignment(**values))  # type: ignore[arg-type]
        with self.lock:
            self.work[work.assignment.id] = work
        self.wake()
        return work

    def cancel(self, work: Work, grace_ms: int = 500, verdict: str = "stop", reason: str = "cancelled") -> None:
        work.stop = Stop(work.assignment.id, work.assignment.epoch, verdict, reason, grace_ms)
        self.wake()

    def wake(self) -> None:
        with self.lock:
            self.revision += 1
            self.lock.notify_all()

    def until(self, condition, seconds: float = 60, what: str = "") -> None:
        """Wait until the condition holds; fail with what was waited for."""
        deadline = time.monotonic() + seconds
        with self.lock:
            while not condition():
                left = deadline - time.monotonic()
                assert left > 0, f"waited {seconds} s in vain for {what or 'the condition'}"
                self.lock.wait(min(left, 0.05))

    def until_finished(self, work: Work, seconds: float = 60) -> dict:
        self.until(lambda: work.finish is not None, seconds, f"the end; {work.status}, log {bytes(work.log)[-500:]!r}")
        assert work.finish is not None
        return work.finish

    # -- HTTP

    def answer(self, http: BaseHTTPRequestHandler) -> None:
        url = urlsplit(http.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = http.rfile.read(int(http.headers.get("Content-Length") or 0))
        verb = url.path.rstrip("/").rpartition("/")[2]
        if "/files/" in url.path:
            self._give(http, verb)
            return
        with self.lock:
            self.calls.append(verb)
            if self.is_silent:
                http.close_connection = True
                return
        try:
            status, answer = self._dispatch(http, url.path, verb, query, body)
        except Refusal as refusal:
            status, answer = refusal.status, refusal.body
        with self.lock:
            if verb in self.lose_answers:
                self.lose_answers.remove(verb)
                http.close_connection = True
                return
            self.lock.notify_all()
        data = b"" if status == 204 else json.dumps(answer).encode()
        http.send_response(status)
        http.send_header("Content-Length", str(len(data)))
        http.send_header("Content-Type", "application/json")
        http.end_headers()
        http.wfile.write(data)

    def _dispatch(self, http: BaseHTTPRequestHandler, path: str, verb: str, query: dict, body: bytes):
        if verb == "wait":
            assert "Authorization" not in http.headers
            return self._wait(query)
        if verb == "livez":
            return 204, None
        with self.lock:
            if verb == "join":
                return 200, self._join(json.loads(body))
            if self.secret is None or http.headers.get("Authorization") != f"Host {self.secret}":
                raise Refusal(401, self.unknown_secret)
            if verb == "sync":
                return 200, self._sync(json.loads(body))
            work = self.work.get(path.split("/")[-2])
            if work is None:
                raise Refusal(404, "not_found")
            if verb == "logs":
                return 200, self._logs(work, int(query["epoch"]), int(query["offset"]), body)
            if verb == "artifacts":
                return 200, self._artifact(work, query, body)
            verbs = {"start": self._start, "finish": self._finish, "checkpoint": self._checkpoint}
            return 200, verbs[verb](work, json.loads(body))

    def _wait(self, query: dict):
        assert query["ticket"] == "a-ticket"
        deadline = time.monotonic() + self.timers.wait_seconds
        with self.lock:
            while self.revision <= int(query["revision"]):
                left = deadline - time.monotonic()
                if left <= 0:
                    return 204, None
                self.lock.wait(left)
            return 200, {"revision": self.revision}

    def _join(self, body: dict) -> dict:
        if self.token is None or body["token"] != self.token:
            raise Refusal(400, "invalid_join_token")
        self.token = None
        return {"host_id": "host-1", "secret": self.secret}

    def _sync(self, body: dict) -> dict:
        if not body:
            raise Refusal(400, "required")
        if self.is_conflicted:
            raise Refusal(409, "session_conflict")
        if self.session == body["session"] and body["seq"] <= self.seq:
            raise Refusal(409, "stale_seq")
        self.session, self.seq = body["session"], body["seq"]
        self.syncs.append(body)
        stops = []
        for held in body["attempts"]:
            work = self.work.get(held["id"])
            if work is None or work.is_lost or work.finish is not None:
                stops.append(Stop(held["id"], held["epoch"], "discard", "unknown"))
                continue
            if held["progress"] is not None and (not work.progress or work.progress[-1] != held["progress"]):
                work.progress.append(held["progress"])
            if work.stop is not None and not self.hide_stops:
                stops.append(work.stop)
        should_run = [
            asdict(work.assignment) | {"log_offset": len(work.log)}
            for work in self.work.values()
            if work.finish is None and not work.is_lost and work.stop is None
        ]
        return {
            "revision": self.revision,
            "attempts": should_run,
            "stop": [asdict(stop) for stop in stops],
            "timers": asdict(self.timers),
            "wait_url": "/live/wait?by=agent",
            "ticket": "a-ticket",
        }

    def _open(self, work: Work, epoch: int) -> None:
        if work.is_lost or epoch != work.assignment.epoch:
            raise Refusal(409, "lease_lost")

    def _start(self, work: Work, body: dict) -> dict:
        self._open(work, body["epoch"])
        assert body["session"] == self.session
        if work.finish is not None:
            raise Refusal(409, "lease_lost")
        work.starts += 1
        work.status = "RUNNING"
        return {"limit_ms": work.assignment.limit_ms}

    def _logs(self, work: Work, epoch: int, offset: int, body: bytes) -> dict:
        self._open(work, epoch)
        if self.break_log_once is not None and len(work.log) > self.break_log_once:
            del work.log[self.break_log_once :]
            self.break_log_once = None
        if offset > len(work.log):
            raise Refusal(416, "offset", offset=len(work.log))
        work.log += body[len(work.log) - offset :]
        return {"offset": len(work.log)}

    def store(self, **files: bytes) -> list[FileToFetch]:
        """Store files and name them as an assignment does."""
        named = []
        for name, data in files.items():
            id_ = str(uuid.uuid4())
            self.stored[id_] = data
            named.append(FileToFetch(id_, name, len(data), hashlib.sha256(data).hexdigest()))
        return named

    def _give(self, http: BaseHTTPRequestHandler, id_: str) -> None:
        data = self.stored.get(id_)
        if data is None:
            http.send_response(404)
            http.send_header("Content-Length", "0")
            http.end_headers()
            return
        start = int(http.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        with self.lock:
            self.fetched.append((id_, start))
            cut, self.cut_after = self.cut_after, None
        http.send_response(206 if start else 200)
        http.send_header("Content-Length", str(len(data) - start))
        http.end_headers()
        http.wfile.write(data[start:] if cut is None else data[start : start + cut])
        http.close_connection = http.close_connection or cut is not None

    def _artifact(self, work: Work, query: dict, body: bytes) -> dict:
        self._open(work, int(query["epoch"]))
        if refusal := self.refuse_files.get(query["name"]):
            raise Refusal(*refusal)
        key, offset, size = (query["kind"], query["name"]), int(query["offset"]), int(query["size"])
        if work.whole.get(key) not in (None, query["sha256"]):
            del work.whole[key], work.files[key]
        here = work.files.setdefault(key, bytearray())
        if offset > len(here):
            raise Refusal(416, "file_gap", offset=len(here))
        here += body[len(here) - offset :]
        if len(here) == size:
            assert hashlib.sha256(here).hexdigest() == query["sha256"]
            work.whole[key] = query["sha256"]
        return {"offset": len(here), "is_whole": key in work.whole}

    def _checkpoint(self, work: Work, body: dict) -> dict:
        self._open(work, body["epoch"])
        known = {(file.path, file.sha256) for file in work.assignment.checkpoint}
        for file in body["files"]:
            if work.whole.get(("checkpoint", file["name"])) != file["sha256"]:
                assert (file["name"], file["sha256"]) in known
        work.checkpoints.append([file["name"] for file in body["files"]])
        return {"kept": len(body["files"])}

    def _finish(self, work: Work, body: dict) -> dict:
        self._open(work, body["epoch"])
        if body["log_lost_from"] is None and body["log_size"] != len(work.log):
            raise Refusal(409, "log_incomplete")
        if any(work.whole.get(("output", file["name"])) != file["sha256"] for file in body["artifacts"]):
            raise Refusal(409, "artifacts_incomplete")
        work.finishes += 1
        if work.finish is not None and work.finish["outcome"] != body["outcome"]:
            raise Refusal(409, "already_ended")
        work.finish = work.finish or body
        work.status = body["outcome"]
        return {"task_status": "COMPLETED" if body["outcome"] == "SUCCEEDED" else body["outcome"]}
