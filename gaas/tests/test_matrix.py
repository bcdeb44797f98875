"""Every endpoint, called by everybody, on one set of rows, against the table in gaas/tests/matrix.txt.

A new endpoint fails here until it has its line and, where it takes a body or names rows, its entry in
matrix_calls.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection, transaction

from accounts.ledger.models import Transfer
from accounts.models import ApiKey, Membership
from gaas.audit.models import AuditEvent
from gaas.tests.matrix_calls import CALLS, NOTE, Call
from gaas.tests.matrix_world import CALLERS, SECRET, World, a_world
from gaas.tests.test_every_route import methods_of, views
from tasks.models import Task, TaskEvent

TABLE = Path(__file__).with_name("matrix.txt")
# No one of the cast succeeds: there is no Google, Stripe or chain here, no flow of a log-in and no second factor. Their
# own tests have the ones who do.
APP = "v1/auth/app/v1"
NOBODY_MAY = {
    "POST v1/auth/google/",
    "POST v1/payments/{pk}/verify/",
    "POST v1/webhooks/stripe/",
    f"POST {APP}/auth/2fa/authenticate/",
    f"POST {APP}/auth/2fa/reauthenticate/",
    *(f"{method} {APP}/auth/webauthn/authenticate/" for method in ("GET", "POST")),
    f"POST {APP}/auth/webauthn/reauthenticate/",
    *(f"{method} {APP}/account/authenticators/totp/" for method in ("GET", "POST")),
    *(f"{method} {APP}/account/authenticators/recovery-codes/" for method in ("GET", "POST")),
    *(f"{method} {APP}/account/authenticators/webauthn/" for method in ("GET", "POST", "PUT", "DELETE")),
}
STRANGERS = ("nobody", "outsider", "other host")
# A host's secret used by two agents at once is an alarm, which is to be seen.
RAISES_AN_ALARM = {"POST agent/v1/sync": ["other host"]}
MISSPELT = "ordring"
# Agents of another release may say more; the documents are not the API.
TAKE_MORE = ("agent/", "docs/", "redoc/", "schema/")
# What leaves no audit event by itself: it has a history of its own (tasks, attempts, log-ins, the ledger's welcome
# hours), moves nothing of what the trail is for, or finds nothing to do on these rows.
UNRECORDED = {
    *(f"POST v1/auth/{path}/" for path in ("email/verify", "logout", "password/reset", "register")),
    *(f"POST v1/auth/token/{path}" for path in ("", "refresh/", "verify/")),
    *(f"POST {APP}/{path}/" for path in ("auth/login", "auth/reauthenticate", "tokens/refresh")),
    f"DELETE {APP}/account/authenticators/totp/",
    "PATCH v1/users/me/",
    "POST v1/webhooks/{pk}/test/",
    "POST v1/webhooks/{webhook}/deliveries/{pk}/redeliver/",
    *("POST v1/tasks/", "POST v1/tasks/quote/", "POST v1/tasks/{pk}/retry/"),
    *("POST v1/uploads/", "DELETE v1/uploads/{pk}/", "POST v1/uploads/{pk}/complete/", "PUT v1/uploads/{pk}/content/"),
    *(
        f"POST agent/v1/attempts/{{attempt_id}}/{path}"
        for path in ("artifacts", "checkpoint", "finish", "logs", "start")
    ),
    "POST agent/v1/sync",
}
# What a call may not add to or take from when it is refused; the audit trail first.
TRACES = (AuditEvent, Transfer, TaskEvent, Task, Membership, ApiKey)


def endpoints() -> set[str]:
    """Name every method of every route of the API."""
    found = set()
    for route, view in views():
        path = re.sub(r"\(\?P<version>v1\)", "v1", route).replace("^", "").replace("$", "")
        path = re.sub(r"\(\?P<(\w+)>[^)]*\)|<\w+:(\w+)>", lambda m: f"{{{m[1] or m[2]}}}", path)
        path = path.replace("//", "/").removeprefix("api/")
        found |= {f"{method.upper()} {path}" for method in methods_of(view)}
    return found


def expected() -> dict[str, dict[str, int]]:
    """Read the table: a method, a path, perhaps a note, and a status for each caller."""
    rows = {}
    for line in TABLE.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        cells = line.split()
        key, statuses = " ".join(cells[: -len(CALLERS)]), cells[-len(CALLERS) :]
        assert key not in rows, f"{key} stands twice"
        rows[key] = dict(zip(CALLERS, map(int, statuses), strict=True))
    return rows


@dataclass
class Answers:
    """Keep what one call got from everybody."""

    statuses: dict[str, int] = field(default_factory=dict)
    # What strangers saw, and beside it what they saw for an id that nothing has.
    seen: dict[str, str] = field(default_factory=dict)
    absent: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    left_traces: list[str] = field(default_factory=list)
    # Whether what somebody did stands in the audit trail.
    is_recorded: bool | None = None
    # What somebody who may got for a query parameter that nothing has.
    misspelt: tuple[int, list[str | None]] | None = None


def ask(key: str, world: World, wanted: dict[str, int]) -> Answers:
    """Call one endpoint as everybody, those who may first, each on the same rows."""
    call, answers = CALLS.get(key, Call()), Answers()
    for caller in sorted(CALLERS, key=lambda name: wanted.get(name, 0) >= 300):
        before = count_traces()
        with transaction.atomic():
            answer = send(key, call, world, caller)
            after = count_traces()
            transaction.set_rollback(True)
        answers.statuses[caller] = answer.status_code
        if answer.status_code < 300 and answers.misspelt is None:
            with transaction.atomic():
                refusal = send(key, call, world, caller, misspelt=True)
                transaction.set_rollback(True)
            attrs = [error["attr"] for error in refusal.json()["errors"]] if refusal.status_code >= 400 else []
            answers.misspelt = refusal.status_code, attrs
        if answer.status_code < 300 and answers.is_recorded is None:
            answers.is_recorded = after[0] > before[0]
        if answer.status_code >= 400 and after != before:
            answers.left_traces.append(caller)
        if caller in STRANGERS:
            answers.seen[caller] = b"".join(answer).decode()
        if caller in STRANGERS and answer.status_code in (404, 409):
            for placeholder in call.rows:
                with transaction.atomic():
                    other = send(key, call, world, caller, unknown=placeholder)
                    transaction.set_rollback(True)
                answers.absent[f"{caller} {placeholder}"] = _said(answer), _said(other)
    return answers


def send(key: str, call: Call, world: World, caller: str, unknown: str = "", *, misspelt: bool = False) -> Any:
    cache.clear()
    client = world.callers[call.host if caller == "host" else caller]
    path, body = call.path(key, world, unknown), call.payload(world)
    if misspelt:
        path += ("&" if "?" in path else "?") + MISSPELT + "=1"
    method = key.partition(" ")[0].lower()
    if isinstance(body, bytes):
        return getattr(client, method)(path, body, content_type="application/octet-stream", **call.headers)
    return getattr(client, method)(path, body, **({} if method == "get" else {"format": "json"}), **call.headers)


def count_traces() -> list[int]:
    """Count the rows of each of TRACES, by one query: it is asked some thousand times."""
    tables = (connection.ops.quote_name(model._meta.db_table) for model in TRACES)
    with connection.cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(f"(SELECT count(*) FROM {table})" for table in tables))
        return list(cursor.fetchone())


def _said(answer: Any) -> Any:
    body = answer.json()
    return answer.status_code, {name: value for name, value in body.items() if name != "request_id"}


ROWS = expected()


@pytest.fixture(scope="module")
def answers(django_db_setup: None, django_db_blocker: Any) -> dict[str, Answers]:
    """Ask everything once; the tests look at the answers."""
    with a_world(django_db_blocker) as world:
        return {key: ask(key, world, ROWS[key]) for key in ROWS}


@pytest.mark.django_db  # pytest-django makes a database only where a test is marked
class TestMatrix:
    def test_every_endpoint_has_a_line(self) -> None:
        lines = {key.partition(NOTE)[0] for key in ROWS}
        assert sorted(endpoints() - lines) == [], "give these a line in matrix.txt"
        assert sorted(lines - endpoints()) == [], "these are no endpoints any more"
        assert sorted(set(CALLS) - set(ROWS)) == []

    def test_each_has_somebody_who_may(self) -> None:
        nobody = {key for key, statuses in ROWS.items() if not any(status < 300 for status in statuses.values())}
        assert nobody == NOBODY_MAY

    @pytest.mark.parametrize("key", ROWS)
    def test_it_answers_everybody_as_the_table_says(self, answers: dict[str, Answers], key: str) -> None:
        other = {
            caller: f"{got}, not {ROWS[key][caller]}"
            for caller, got in answers[key].statuses.items()
            if got != ROWS[key][caller]
        }
        assert other == {}

    @pytest.mark.parametrize("key", [key for key in ROWS if "{" in key])
    def test_what_is_not_theirs_is_as_if_it_were_not_there(self, answers: dict[str, Answers], key: str) -> None:
        assert {name: pair for name, pair in answers[key].absent.items() if pair[0] != pair[1]} == {}

    @pytest.mark.parametrize("key", [key for key in ROWS if not key.partition(" ")[2].startswith(TAKE_MORE)])
    def test_a_misspelt_parameter_is_named(self, answers: dict[str, Answers], key: str) -> None:
        assert answers[key].misspelt == (None if key in NOBODY_MAY else (400, [MISSPELT]))

    @pytest.mark.parametrize("key", ROWS)
    def test_strangers_learn_nothing(self, answers: dict[str, Answers], key: str) -> None:
        assert [caller for caller, body in answers[key].seen.items() if SECRET in body.lower()] == []

    def test_what_is_done_is_recorded(self, answers: dict[str, Answers]) -> None:
        """Each verb that changes permission, money, quota, approval, hosts or keys leaves an audit event."""
        done = {key for key, found in answers.items() if found.is_recorded is False and not key.startswith("GET ")}
        assert done == UNRECORDED

    @pytest.mark.parametrize("key", ROWS)
    def test_a_refusal_leaves_no_trace(self, answers: dict[str, Answers], key: str) -> None:
        assert answers[key].left_traces == RAISES_AN_ALARM.get(key, [])
