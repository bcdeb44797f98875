"""People who use a running platform over REST, and what they expect to be answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

TERMINAL = {"COMPLETED", "FAILED", "CANCELLED", "REJECTED", "EXPIRED"}
# Servers that are killed while others start take their time on two busy cores.
PATIENCE_SECONDS = 180
LOG_IN = "auth/token/"


class Person:
    """Call the API as one person; `patient` ones go on through a server that is down or fails."""

    def __init__(self, url: str, email: str, password: str, *, patient: bool = False) -> None:
        self.email, self.password, self.patient = email, password, patient
        self.http = httpx.Client(base_url=f"{url}/api/v1/", timeout=120, trust_env=False)

    def log_in(self) -> Person:
        token = self.call("POST", LOG_IN, json={"email": self.email, "password": self.password})
        self.http.headers["Authorization"] = f"Bearer {token['access']}"
        return self

    def ask(self, method: str, path: str, *, expect: int | None = None, **how: Any) -> httpx.Response:
        """Send a request and assert the status of its answer; by default that it is a success."""
        answer = self._answer(method, path, **how)
        ok = answer.is_success if expect is None else answer.status_code == expect
        assert ok, f"{method} {path}: {answer.status_code}, not {expect or '2xx'}: {answer.text[:1000]}"
        return answer

    def call(self, method: str, path: str, **how: Any) -> Any:
        return self.ask(method, path, **how).json()

    def refused(self, status: int, method: str, path: str, **how: Any) -> dict[str, Any]:
        """Expect a refusal and give its first error."""
        error: dict[str, Any] = self.call(method, path, expect=status, **how)["errors"][0]
        return error

    def pages(self, path: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """Go through all pages of a list."""
        page = self.call("GET", path, params=parameters)
        yield from page["results"]
        while page["next"]:
            page = self.call("GET", page["next"])
            yield from page["results"]

    def account(self) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", "accounts/")["results"][0]
        return found

    def submit(self, script: str, *, title: str = "A task", hours: str = "2") -> dict[str, Any]:
        body = {"title": title, "spec": {"script": script}, "hours": hours}
        made: dict[str, Any] = self.call("POST", "tasks/", expect=201, json=body)
        return made

    def task(self, id_: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"tasks/{id_}/")
        return found

    def approve(self, id_: str) -> None:
        """Approve a task. Of one whose answer was lost it is enough that it is not pending any more."""
        answer = self._answer("POST", f"tasks/{id_}/approve/", json={})
        if not (self.patient and answer.status_code == 409):
            assert answer.status_code == 200, answer.text[:1000]

    def _answer(self, method: str, path: str, **how: Any) -> httpx.Response:
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answer = self.http.request(method, path, **how)
                if self.patient and answer.status_code == 401 and path != LOG_IN:
                    self.log_in()  # a token lives ten minutes
                    answer = self.http.request(method, path, **how)
                if not self.patient or answer.status_code < 500 or time.monotonic() > until:
                    return answer
            except httpx.TransportError:
                if not self.patient or time.monotonic() > until:
                    raise
            time.sleep(0.2)


def newcomer(url: str, name: str, *, patient: bool = False) -> Person:
    """Register somebody and log them in."""
    person = Person(url, f"{name}@example.org", f"a-long-password-of-{name}", patient=patient)
    person.ask("POST", "auth/register/", json={"email": person.email, "password": person.password, "name": name})
    return person.log_in()


def eventually(seconds: float, what: str, look: Callable[[], Any], *, each: float = 0.1) -> Any:
    """Look again and again until there is something to see; AssertionError says what never came."""
    until = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < until, f"not within {seconds:g} s: {what}"
        time.sleep(each)
    return seen


def at_its_end(person: Person, id_: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
    """Wait until a task has ended."""

    def look() -> dict[str, Any] | None:
        task = person.task(id_)
        return task if task["status"] in TERMINAL else None

    ended: dict[str, Any] = eventually(seconds, f"the end of task {id_}", look, each=0.2)
    return ended
