"""A host for tests that speaks the agents' protocol over HTTP, and what a test needs to have a task run on it."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

from rest_framework.test import APIClient

from accounts.ledger.services import platform_balance, transfer
from accounts.models import Account
from accounts.services import balances_of, wallet_balance
from gaas.lib import clock
from gpus.agent.protocol import PROTOCOL, GpuReport
from gpus.models import GPU, Host
from gpus.tests.fleet import a_device, a_joined_host, some_facts
from tasks import services
from tasks.draft import Draft
from tasks.models import Attempt, Task

HOUR = 3_600_000


def a_draft(**changes: Any) -> Draft:
    ask = {
        "title": "Count to ten",
        "kind": "script",
        "spec": {"command": ["true"]},
        "funding": "quota",
        "gpus": 1,
        "limit_ms": 2 * HOUR,
    }
    return Draft(**{**ask, **changes})


def a_body(**changes: Any) -> dict[str, Any]:
    """Give a body of POST tasks/ that is taken."""
    ask = {"title": "Count to ten", "spec": {"command": ["true"]}, "hours": "2"}
    return {**ask, **changes}


def a_task(by: Any, **changes: Any) -> Task:
    """Submit a task, by the verb."""
    return services.submit(a_draft(**changes), by=by, now=clock.now())


def an_approved_task(by: Any, staff: Any, **changes: Any) -> Task:
    task = a_task(by, **changes)
    services.approve(task, by=staff, now=clock.now())
    return task


class Rig:
    """Be the agent of one host: every call is a request with the host's secret, as a real agent makes it."""

    def __init__(self, account: Account, *devices: GpuReport, name: str = "rig", **offer: Any) -> None:
        host, self.secret = a_joined_host(account, name)
        self.host_id = host.pk
        self.session = uuid4()
        self.boot = f"boot-{uuid4()}"
        self.seq = 0
        self.held: dict[str, dict[str, Any]] = {}
        self.devices = list(devices) or [a_device()]
        self.http = APIClient(HTTP_AUTHORIZATION=f"Host {self.secret}")
        self.sync()
        for gpu in GPU.objects.filter(host=host).select_related("host__account"):
            gpu.offer(by=None, now=clock.now(), **{"visibility": "PUBLIC", "accepts_quota": True, **offer})
            gpu.list(by=None, now=clock.now())

    @property
    def host(self) -> Host:
        return Host.objects.get(pk=self.host_id)

    def call(self, path: str, body: Any, status: int = 200) -> Any:
        answer = self.http.post(f"/api/agent/v1/{path}", body, format="json")
        assert answer.status_code == status, answer.content
        return answer.json()

    def body(self, **changes: Any) -> dict[str, Any]:
        self.seq += 1
        body = {
            "protocol": PROTOCOL,
            "session": str(self.session),
            "seq": self.seq,
            "boot_id": self.boot,
            "clock": clock.now().isoformat(),
            "facts": some_facts().to_wire(),
            "gpus": [device.to_wire() for device in self.devices],
            "attempts": list(self.held.values()),
            "metrics": [],
        }
        return {**body, **changes}

    def sync(self, status: int = 200, **changes: Any) -> Any:
        return self.call("sync", self.body(**changes), status)

    def take(self) -> dict[str, Any]:
        """Sync and begin to hold the one attempt that is offered."""
        (offer,) = self.sync()["attempts"]
        self.held[offer["id"]] = {"id": offer["id"], "epoch": offer["epoch"], "state": "PREPARING"}
        return offer

    def start(self, offer: dict[str, Any], status: int = 200) -> Any:
        body = {"epoch": offer["epoch"], "session": str(self.session), "seq": self.seq}
        answer = self.call(f"attempts/{offer['id']}/start", body, status)
        if status == 200:
            self.held[offer["id"]]["state"] = "RUNNING"
        return answer

    def log(self, offer: dict[str, Any], data: bytes, offset: int, status: int = 200) -> Any:
        answer = self.http.post(
            f"/api/agent/v1/attempts/{offer['id']}/logs?epoch={offer['epoch']}&offset={offset}",
            data,
            content_type="application/octet-stream",
        )
        assert answer.status_code == status, answer.content
        return answer.json()

    def put(
        self,
        offer: dict[str, Any],
        name: str,
        data: bytes,
        *,
        of: bytes | None = None,
        offset: int = 0,
        kind: str = "output",
        status: int = 200,
        **changes: Any,
    ) -> Any:
        """Send bytes of a file that the attempt left; `of` is the whole file where these are a part of it."""
        whole = data if of is None else of
        query = {
            "epoch": offer["epoch"],
            "kind": kind,
            "name": name,
            "size": len(whole),
            "sha256": hashlib.sha256(whole).hexdigest(),
            "offset": offset,
            **changes,
        }
        answer = self.http.post(
            f"/api/agent/v1/attempts/{offer['id']}/artifacts?{urlencode(query)}",
            data,
            content_type="application/octet-stream",
        )
        assert answer.status_code == status, answer.content
        return answer.json()

    def keep_checkpoint(self, offer: dict[str, Any], files: dict[str, bytes], status: int = 200) -> Any:
        listed = [left(name, data) for name, data in files.items()]
        return self.call(f"attempts/{offer['id']}/checkpoint", {"epoch": offer["epoch"], "files": listed}, status)

    def get(self, offer: dict[str, Any], file_id: Any, **headers: str) -> Any:
        """Fetch a file that the attempt is to have."""
        path = f"/api/agent/v1/attempts/{offer['id']}/files/{file_id}?epoch={offer['epoch']}"
        return self.http.get(path, headers=headers)

    def finish(self, offer: dict[str, Any], outcome: str = "SUCCEEDED", status: int = 200, **changes: Any) -> Any:
        body = {
            "epoch": offer["epoch"],
            "outcome": outcome,
            "fault": {"SUCCEEDED": "none", "CANCELLED": "none", "REFUSED": "host"}.get(outcome, "user"),
            "exit_code": 0 if outcome == "SUCCEEDED" else 1,
            "code": "" if outcome == "SUCCEEDED" else "exit_code",
            "detail": "",
            "elapsed_ms": 1_000,
            "log_size": 0,
            # Left out where a test sends some log, unless that is what it is about.
            "log_sha256": "" if changes.get("log_size") else hashlib.sha256(b"").hexdigest(),
            **changes,
        }
        answer = self.call(f"attempts/{offer['id']}/finish", body, status)
        if status == 200:
            self.held.pop(offer["id"], None)
        return answer


def left(name: str, data: bytes) -> dict[str, Any]:
    """Name a file as an agent lists it."""
    return {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def offered_to(rig: Rig) -> dict[str, Any]:
    """Run the matcher and take what it offers to this host."""
    services.schedule()
    return rig.take()


def running_on(rig: Rig) -> dict[str, Any]:
    """Have the matcher offer, and the host start, one task."""
    offer = offered_to(rig)
    rig.start(offer)
    return offer


def attempt_id(offer: dict[str, Any]) -> UUID:
    return UUID(offer["id"])


def has_run_for(offer: dict[str, Any], seconds: float) -> None:
    """Pretend that the program was started that long ago, by the database's clock."""
    Attempt.objects.filter(pk=offer["id"]).update(started_at=clock.now() - timedelta(seconds=seconds))


def hours_of(account: Account) -> tuple[int, int]:
    """Give (available, held) in GPU-milliseconds."""
    balances = balances_of(account)
    return balances.hours_available, balances.hours_held


def wallet_of(account: Account) -> tuple[int, int]:
    """Give (available, held) in micro-dollars."""
    balances = balances_of(account)
    return balances.wallet_available, balances.wallet_held


def top_up(account: Account, amount: int) -> None:
    """Put micro-dollars in an account's wallet, as a payment that came in would."""
    transfer(
        key=f"test-top-up:{uuid4()}",
        kind="top_up",
        debit=platform_balance(asset="USD", kind="clearing:test"),
        credit=wallet_balance(account),
        amount=amount,
    )


def refused(answer: Any, status: int, code: str | None = None, attr: str | None = None) -> dict[str, Any]:
    """Assert the one shape of refusals and give its errors' first, or the one of `attr`."""
    assert answer.status_code == status, answer.content
    body = answer.json()
    assert set(body) == {"type", "errors", "request_id"}
    assert body["request_id"] == answer["X-Request-ID"]
    assert all(set(error) == {"code", "detail", "attr"} for error in body["errors"])
    found = [error for error in body["errors"] if attr is None or error["attr"] == attr]
    assert found, body
    if code is not None:
        assert code in [error["code"] for error in found], body
    return found[0]
