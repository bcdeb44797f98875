"""What is sent to each endpoint of the matrix: to which row, and a body that whoever may do it succeeds with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from gaas.tests.cast import PASSWORD
from gaas.tests.matrix_world import FILE, LOG, NEW_PASSWORD, World

Body = dict[str, Any] | bytes | None
UNKNOWN = UUID("00000000-0000-7000-8000-00000000dead")
# A note behind a route tells one call of it from another, as in "POST v1/approvals/{pk}/approve/ (a parent's)".
NOTE = " ("


@dataclass(frozen=True)
class Call:
    """Name the world's row for each placeholder of the path, and the body, which may need the world."""

    rows: dict[str, str] = field(default_factory=dict)
    body: Body | Callable[[World], Body] = None
    query: Callable[[World], str] = lambda world: ""
    # The caller in the column "host", where it is another one's attempt.
    host: str = "host"
    headers: dict[str, str] = field(default_factory=dict)

    def payload(self, world: World) -> Body:
        return self.body(world) if callable(self.body) else self.body

    def path(self, key: str, world: World, unknown: str = "") -> str:
        """Fill the ids in; the placeholder `unknown` gets one that nothing has."""
        path = "/api/" + key.partition(" ")[2].partition(NOTE)[0]
        for placeholder, name in self.rows.items():
            row = UNKNOWN if placeholder == unknown else world.rows[name].pk
            path = path.replace(f"{{{placeholder}}}", str(row))
        assert "{" not in path, f"{key}: name a row for each placeholder"
        return path + self.query(world)


def to(name: str, body: Any = None, **more: Any) -> Call:
    return Call({"pk": name}, body, **more)


def of(account: str, pk: str = "", body: Any = None) -> Call:
    return Call({"account": account, **({"pk": pk} if pk else {})}, body)


def with_lab(**body: Any) -> Callable[[World], Body]:
    return lambda world: {**body, "account": str(world.lab.pk)}


HOOK = {"url": "https://93.184.215.14/hook", "events": ["task.completed"]}
DELIVERY = {"webhook": "webhook", "pk": "delivery"}
TASK = {"title": "Count", "spec": {"command": ["true"]}, "hours": "2"}
REASON = {"reason": "So it is."}
ONCE = {"HTTP_IDEMPOTENCY_KEY": "matrix"}


def _sync(world: World) -> Body:
    body = world.rig.body()
    world.rig.seq -= 1  # the next caller sends the same
    return body


def _finish(world: World) -> Body:
    return {
        "epoch": world.offer["epoch"],
        "outcome": "SUCCEEDED",
        "fault": "none",
        "exit_code": 0,
        "code": "",
        "detail": "",
        "elapsed_ms": 1_000,
        "log_size": len(LOG),
        "log_sha256": hashlib.sha256(LOG).hexdigest(),
    }


def _start(world: World) -> Body:
    return {"epoch": world.offer2["epoch"], "session": str(world.rig2.session), "seq": world.rig2.seq}


def _artifact(world: World) -> str:
    named = f"name=more.bin&size={len(FILE)}&sha256={hashlib.sha256(FILE).hexdigest()}"
    return f"?epoch={world.offer['epoch']}&kind=output&offset=0&{named}"


APP = "v1/auth/app/v1"
OF_TASK = "v1/tasks/{task}/artifacts"
ARTIFACT = {"task": "running", "pk": "artifact"}

CALLS: dict[str, Call] = {
    "POST v1/uploads/": Call(body=with_lab(name="data.csv", size=5)),
    "GET v1/uploads/{pk}/": to("upload"),
    "DELETE v1/uploads/{pk}/": to("spare_upload"),
    "GET v1/uploads/{pk}/content/": to("upload"),
    "PUT v1/uploads/{pk}/content/": to("open_upload", FILE),
    "POST v1/uploads/{pk}/complete/": to("open_upload", {}),
    f"GET {OF_TASK}/": Call({"task": "running"}),
    f"GET {OF_TASK}/archive/": Call({"task": "running"}),
    f"GET {OF_TASK}/{{pk}}/": Call(ARTIFACT),
    f"GET {OF_TASK}/{{pk}}/content/": Call(ARTIFACT),
    "GET agent/v1/attempts/{attempt_id}/files/{file_id}": Call(
        {"attempt_id": "attempt", "file_id": "input_file"}, query=lambda world: f"?epoch={world.offer['epoch']}"
    ),
    "POST agent/v1/attempts/{attempt_id}/artifacts": Call({"attempt_id": "attempt"}, FILE, query=_artifact),
    "POST agent/v1/attempts/{attempt_id}/checkpoint": Call(
        {"attempt_id": "attempt"}, lambda world: {"epoch": world.offer["epoch"], "files": []}
    ),
    "GET v1/accounts/{pk}/": to("lab"),
    "PATCH v1/accounts/{pk}/": to("lab", {"name": "Renamed"}),
    "GET v1/accounts/{pk}/children/": to("lab"),
    "POST v1/accounts/{pk}/children/": to("lab", {"name": "New"}),
    "POST v1/accounts/{account}/children/invite/": of("lab", body={"email": "new@example.test"}),
    "POST v1/invitations/link/": Call(
        body=lambda world: {"token": world.link_letter, "account": str(world.users["outsider"].personal_account.pk)}
    ),
    "POST v1/accounts/{pk}/close/": to("spare", REASON),
    "POST v1/accounts/{pk}/fund/": to("lab", lambda world: {"to": str(world.desk.pk), "hours": "1"}, headers=ONCE),
    "POST v1/accounts/{pk}/reclaim/": to("lab", lambda world: {"from": str(world.desk.pk), "hours": "1"}, headers=ONCE),
    "GET v1/accounts/{pk}/transfers/": to("lab"),
    "POST v1/accounts/": Call(body={"name": "New"}),
    "GET v1/accounts/{account}/members/": of("lab"),
    "POST v1/accounts/{account}/members/": of("lab", body={"email": "new@example.test", "role": "MEMBER"}),
    "GET v1/accounts/{account}/members/{pk}/": of("lab", "mate"),
    "PATCH v1/accounts/{account}/members/{pk}/": of("lab", "mate", {"role": "MEMBER"}),
    "DELETE v1/accounts/{account}/members/{pk}/": of("lab", "mate"),
    "GET v1/accounts/{account}/invitations/": of("lab"),
    "DELETE v1/accounts/{account}/invitations/{pk}/": of("lab", "invitation"),
    "GET v1/accounts/{account}/caps/": of("desk"),
    "POST v1/accounts/{account}/caps/": of("desk", body={"period": "month", "amount_usd": "3"}),
    "DELETE v1/accounts/{account}/caps/{pk}/": of("desk", "cap"),
    "GET v1/accounts/{account}/low-marks/": of("lab"),
    "POST v1/accounts/{account}/low-marks/": of("lab", body={"hours": "3"}),
    "GET v1/accounts/{account}/registries/": of("lab"),
    "POST v1/accounts/{account}/registries/": of(
        "lab", body={"server": "ghcr.io", "username": "robot", "password": "a-token"}
    ),
    "DELETE v1/accounts/{account}/registries/{pk}/": of("lab", "registry"),
    "GET v1/accounts/{account}/thresholds/": of("desk"),
    "POST v1/accounts/{account}/thresholds/": of("desk", body={"hours": "3"}),
    "DELETE v1/accounts/{account}/thresholds/{pk}/": of("desk", "threshold"),
    "POST v1/api-keys/": Call(body={"name": "New", "scopes": ["tasks:read"]}),
    "GET v1/api-keys/{pk}/": to("api_key"),
    "POST v1/api-keys/{pk}/revoke/": to("api_key", REASON),
    "POST v1/api-keys/{pk}/rotate/": to("api_key", {}),
    "GET v1/approvals/{pk}/": to("step"),
    "POST v1/approvals/{pk}/approve/": to("step", REASON),
    "POST v1/approvals/{pk}/approve/ (a parent's)": to("parents_step", REASON),
    "POST v1/approvals/{pk}/reject/": to("step", REASON),
    "POST v1/approvals/{pk}/reject/ (a parent's)": to("parents_step", REASON),
    "POST v1/payments/": Call(body=with_lab(provider="manual", amount_usd="5"), headers=ONCE),
    "GET v1/payments/{pk}/": to("payment"),
    "POST v1/payments/{pk}/cancel/": to("payment"),
    "POST v1/payments/{pk}/verify/": to("payment", {"tx_hash": "0x" + "0" * 64}),
    "POST v1/webhooks/": Call(body=with_lab(**HOOK)),
    "GET v1/webhooks/{pk}/": to("webhook"),
    "PATCH v1/webhooks/{pk}/": to("webhook", HOOK),
    "DELETE v1/webhooks/{pk}/": to("webhook"),
    "POST v1/webhooks/{pk}/rotate-secret/": to("webhook", {}),
    "POST v1/webhooks/{pk}/test/": to("webhook", {}),
    "GET v1/webhooks/{webhook}/deliveries/": Call({"webhook": "webhook"}),
    "GET v1/webhooks/{webhook}/deliveries/{pk}/": Call(DELIVERY),
    "POST v1/webhooks/{webhook}/deliveries/{pk}/redeliver/": Call(DELIVERY, {}),
    "POST v1/webhooks/stripe/": Call(body={"id": "evt_1"}),
    "POST v1/payments/{pk}/refund/": to("paid", REASON, headers=ONCE),
    "GET v1/statements/{pk}.csv": to("statement"),
    "GET v1/statements/{pk}.pdf": to("statement"),
    "GET v1/statements/{pk}/": to("statement"),
    "POST v1/payouts/": Call(
        body=lambda world: {"amount_usd": "10", "destination": str(world.destination.pk)}, headers=ONCE
    ),
    "GET v1/payouts/{pk}/": to("payout"),
    "POST v1/payouts/{pk}/approve/": to("payout"),
    "POST v1/payouts/{pk}/cancel/": to("payout"),
    "POST v1/payouts/{pk}/reject/": to("payout", REASON),
    "POST v1/payout-destinations/": Call(body=with_lab(kind="manual", detail="Account 12, Owner")),
    "GET v1/payout-destinations/{pk}/": to("destination"),
    "POST v1/payout-destinations/{pk}/retire/": to("destination"),
    "POST v1/contracts/": Call(
        body=lambda world: {
            "kind": "allowance",
            "title": "Monthly",
            "payer": str(world.lab.pk),
            "payee": str(world.desk.pk),
            "hours": "1",
        },
        headers=ONCE,
    ),
    "GET v1/contracts/{pk}/": to("contract"),
    "GET v1/contracts/{pk}/periods/": to("contract"),
    "POST v1/contracts/{pk}/propose/": to("contract", {"hours": "2"}),
    "POST v1/contracts/{pk}/accept/": to("offered_contract", {"version": 1}),
    "POST v1/contracts/{pk}/decline/": to("offered_contract", REASON),
    "POST v1/contracts/{pk}/pause/": to("contract", REASON),
    "POST v1/contracts/{pk}/resume/": to("paused_contract", REASON),
    "POST v1/contracts/{pk}/cancel/": to("contract", REASON),
    "POST v1/quota-requests/": Call(body=with_lab(hours="1", reason="More")),
    "GET v1/quota-requests/{pk}/": to("quota_request"),
    "POST v1/quota-requests/{pk}/approve/": to("quota_request", REASON),
    "POST v1/quota-requests/{pk}/reject/": to("quota_request", REASON),
    "POST v1/tasks/": Call(body=with_lab(**TASK)),
    "POST v1/tasks/quote/": Call(body=with_lab(**TASK)),
    "GET v1/tasks/{pk}/": to("waiting"),
    "POST v1/tasks/{pk}/approve/": to("waiting", REASON),
    "POST v1/tasks/{pk}/reject/": to("waiting", REASON),
    "POST v1/tasks/{pk}/cancel/": to("waiting", REASON),
    "POST v1/tasks/{pk}/complete/": to("running", REASON),
    "POST v1/tasks/{pk}/retry/": to("ended"),
    "GET v1/tasks/{pk}/attempts/": to("running"),
    "GET v1/tasks/{pk}/events/": to("running"),
    "GET v1/tasks/{pk}/events/stream/": to("running"),
    "GET v1/tasks/{pk}/logs/": to("running"),
    "GET v1/tasks/{pk}/service/": to("running"),
    "GET v1/tasks/{pk}/metrics/": to("running"),
    "GET v1/tasks/{pk}/logs/stream/": to("running"),
    "GET v1/gpus/{pk}/": to("gpu"),
    "PATCH v1/gpus/{pk}/": to("gpu", {"price_per_hour_usd": "2"}),
    "GET v1/gpus/{pk}/metrics/": to("gpu"),
    "POST v1/gpus/{pk}/list/": to("unlisted_gpu", REASON),
    "POST v1/gpus/{pk}/unlist/": to("gpu", REASON),
    "POST v1/gpus/{pk}/drain/": to("gpu", REASON),
    "POST v1/gpus/{pk}/undrain/": to("draining_gpu", REASON),
    "POST v1/gpus/{pk}/retire/": to("unlisted_gpu", REASON),
    "POST v1/hosts/": Call(body=with_lab(name="new")),
    "GET v1/hosts/{pk}/": to("host_row"),
    "PATCH v1/hosts/{pk}/": to("host_row", {"name": "renamed"}),
    "POST v1/hosts/{pk}/drain/": to("host_row", REASON),
    "POST v1/hosts/{pk}/undrain/": to("draining_host", REASON),
    "POST v1/hosts/{pk}/maintenance/": to("host_row", REASON),
    "POST v1/hosts/{pk}/revoke/": to("host_row", REASON),
    "POST v1/hosts/{pk}/rotate-secret/": to("host_row"),
    "POST v1/hosts/{pk}/join-token/": to("joining_host"),
    "PATCH v1/users/me/": Call(body={"name": "Renamed"}),
    "GET v1/users/{pk}/": to("person"),
    "PATCH v1/users/{pk}/": to("person", {"name": "Renamed"}),
    "POST v1/users/{pk}/deactivate/": to("person", REASON),
    "POST v1/users/{pk}/reactivate/": to("switched_off", REASON),
    "POST v1/invitations/accept/": Call(body=lambda world: {"token": world.letter}),
    "POST v1/auth/register/": Call(body={"email": "new@example.test", "password": NEW_PASSWORD, "name": "New"}),
    "POST v1/auth/token/": Call(body={"email": "mate@example.test", "password": PASSWORD}),
    "POST v1/auth/token/refresh/": Call(body=lambda world: {"refresh": world.refresh}),
    "POST v1/auth/token/verify/": Call(body=lambda world: {"token": world.refresh}),
    "POST v1/auth/logout/": Call(body=lambda world: {"refresh": world.refresh}),
    f"POST {APP}/auth/login/": Call(body={"email": "outsider@example.test", "password": PASSWORD}),
    f"POST {APP}/auth/2fa/authenticate/": Call(body={"code": "000000"}),
    f"POST {APP}/auth/webauthn/authenticate/": Call(body={"credential": {}}),
    f"POST {APP}/auth/reauthenticate/": Call(body={"password": PASSWORD}),
    f"POST {APP}/auth/2fa/reauthenticate/": Call(body={"code": "000000"}),
    f"POST {APP}/auth/webauthn/reauthenticate/": Call(body={"credential": {}}),
    f"POST {APP}/tokens/refresh/": Call(body=lambda world: {"refresh_token": world.refresh}),
    f"POST {APP}/account/authenticators/totp/": Call(body={"code": "000000"}),
    f"POST {APP}/account/authenticators/webauthn/": Call(body={"credential": {}}),
    f"PUT {APP}/account/authenticators/webauthn/": Call(body={"id": 1, "name": "x"}),
    f"DELETE {APP}/account/authenticators/webauthn/": Call(body={"authenticators": [1]}),
    "POST v1/auth/email/verify/": Call(body=lambda world: {"key": world.email_key}),
    "POST v1/auth/google/": Call(body={"code": "x"}),
    "POST v1/auth/password/reset/": Call(body={"email": "mate@example.test"}),
    "POST v1/auth/password/reset/confirm/": Call(
        body=lambda world: {
            "uid": str(world.users["mate"].pk),
            "token": world.reset_token,
            "new_password": NEW_PASSWORD,
        }
    ),
    "POST v1/auth/password/change/": Call(body={"current_password": PASSWORD, "new_password": NEW_PASSWORD}),
    "POST agent/v1/join": Call(body=lambda world: {"protocol": 1, "token": world.join_token, "facts": world.facts()}),
    "POST agent/v1/sync": Call(body=_sync),
    "POST agent/v1/attempts/{attempt_id}/start": Call({"attempt_id": "attempt2"}, _start, host="second host"),
    "POST agent/v1/attempts/{attempt_id}/logs": Call(
        {"attempt_id": "attempt"}, b"more\n", query=lambda world: f"?epoch={world.offer['epoch']}&offset={len(LOG)}"
    ),
    "POST agent/v1/attempts/{attempt_id}/finish": Call({"attempt_id": "attempt"}, _finish),
}
