"""The main job over REST, as a script user would do it: quote, submit, approve, follow, read the bill."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from gaas import demo

WAIT_SECONDS = 120
TERMINAL = {"COMPLETED", "FAILED", "CANCELLED", "REJECTED", "EXPIRED"}


class WalkFailed(Exception):
    """State what the demo expected and what came instead."""


class Caller:
    """Call the API as one person."""

    def __init__(self, base_url: str, email: str, password: str) -> None:
        self.http = httpx.Client(base_url=f"{base_url}/api/v1/", timeout=30)
        token = self.call("POST", "auth/token/", json={"email": email, "password": password})["access"]
        self.http.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, **how: Any) -> httpx.Response:
        answer = self.http.request(method, path, **how)
        if answer.is_error:
            raise WalkFailed(f"{method} {path} answered {answer.status_code}: {answer.text[:500]}")
        return answer

    def call(self, method: str, path: str, **how: Any) -> Any:
        return self.ask(method, path, **how).json()


def walk(base_url: str, passwords: dict[str, str], say: Callable[[str], object]) -> dict[str, Any]:
    """Run the demo task from submit to its charge; returns the task as the API shows it at the end.

    Raises WalkFailed when it does not end COMPLETED.
    """
    admin, alice = (Caller(base_url, person.email, passwords[person.email]) for person in demo.PEOPLE[:2])
    body = {
        "title": "Two spirals: a small network, trained by hand",
        "kind": "script",
        "spec": {"script": demo.TASK.read_text()},
        "funding": "quota",
        "hours": "2",
    }
    account = alice.call("GET", "accounts/")["results"][0]
    say(f"Alice has {account['hours_available']} GPU-hours.")
    quote = alice.call("POST", "tasks/quote/", json=body)
    say(
        f"Quote: {quote['hours_held']} hours would be held, {quote['left']} left; "
        f"needs {quote['approvals'][0]['kind']} "
        f"approval; {quote['gpus_free']} fitting GPU(s) free."
    )
    task = alice.call("POST", "tasks/", json=body)
    account = alice.call("GET", f"accounts/{account['id']}/")
    say(
        f"Submitted {task['id']}: {task['status']}; "
        f"{account['hours_available']} hours available, {account['hours_held']} held."
    )
    approved = admin.call("POST", f"tasks/{task['id']}/approve/", json={"reason": "A demo."})
    say(f"The admin approves: {approved['status']}.")
    task = _follow(alice, task["id"], say)
    if task["status"] != "COMPLETED":
        raise WalkFailed(f"The task ended {task['status']}: {task['failure']}")
    account = alice.call("GET", f"accounts/{account['id']}/")
    attempt = alice.call("GET", f"tasks/{task['id']}/attempts/")["results"][0]
    where = ", ".join(f"{gpu['model']}{' (simulated)' if gpu['simulated'] else ''}" for gpu in attempt["gpus"])
    say(f"{task['status']} on {attempt['host']} ({where}; sandbox: {attempt['sandbox']}).")
    say(f"Result: {task['result']}")
    say(
        f"Cost: {task['hours_charged']} GPU-hours ({task['gpu_ms']} GPU-ms metered); the rest of the hold is back: "
        f"{account['hours_available']} available, {account['hours_held']} held."
    )
    for transfer in alice.call("GET", f"accounts/{account['id']}/transfers/")["results"][:2]:
        say(f"  transfer: {_shown(transfer)}")
    return task


def _follow(alice: Caller, task_id: str, say: Callable[[str], object]) -> dict[str, Any]:
    """Print the log as it grows and each change of state."""
    offset, seen, until = 0, "", time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        task: dict[str, Any] = alice.call("GET", f"tasks/{task_id}/")
        if task["status"] != seen:
            seen = task["status"]
            why = task["waiting_reason"]
            say(f"[{seen}]" + (f" {why['detail']} {why['hint']}" if why else ""))
        log = alice.ask("GET", f"tasks/{task_id}/logs/", params={"offset": offset})
        offset = int(log.headers["X-Log-Next-Offset"])
        for line in log.text.splitlines():
            say(f"  | {line}")
        if task["status"] in TERMINAL and not log.content:
            return task
        time.sleep(0.3)
    raise WalkFailed(f"The task was not at its end after {WAIT_SECONDS} s; it is {seen}.")


def _shown(transfer: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {value}" for key, value in transfer.items() if key in ("kind", "hours", "amount_usd", "memo") and value
    )
