"""Every page, opened by everybody, and every form on one, sent by everybody, against gaas/tests/page_matrix.txt.

A new page fails here until it has its line; a new form of a page does, too, and wants its entry in FORMS.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, get_resolver

from gaas.tests.matrix_calls import HOOK, NOTE, UNKNOWN
from gaas.tests.matrix_world import SECRET, World, a_world
from gaas.tests.test_matrix import count_traces
from tasks.services.letters import letter_token

TABLE = Path(__file__).with_name("page_matrix.txt")
CALLERS = ("nobody", "outsider", "viewer", "member", "manager", "owner", "Support", "superuser")
STRANGERS = ("nobody", "outsider")
# The API and the admin have tests of their own; these are for machines.
NO_PAGES = ("api/", "admin/", "livez", "readyz", "metrics", "favicon.ico", "static/", "live/")

# This platform has no Google, and nobody of the cast a second factor.
NOBODY_MAY = {"GET /accounts/google/", "GET /accounts/google/callback/"}
# Who has the link of a letter reads what the letter is about.
LETTERS = ("/tasks/decide/", "/accounts/join/")

Form = dict[str, Any] | Callable[[World], dict[str, Any]]


def pages() -> Iterator[tuple[str, Any]]:
    """Give each page's route and its view."""
    todo = [("", get_resolver())]
    while todo:
        prefix, resolver = todo.pop()
        for pattern in resolver.url_patterns:
            route = prefix + str(pattern.pattern)
            if not isinstance(pattern, URLPattern):
                todo.append((route, pattern))
            elif not route.lstrip("^").startswith(NO_PAGES):
                yield f"/{route}", pattern.callback


def wanted_lines() -> set[str]:
    """Name every page, and every form of a page of several."""
    lines = set()
    for route, view in pages():
        lines.add(f"GET {route}")
        kinds = getattr(getattr(view, "view_class", None), "kinds", ())
        lines |= {f"POST {route} ({kind.verb})" for kind in kinds}
    return lines


def expected() -> dict[str, dict[str, int]]:
    """Read the table: a method, a route, perhaps a note, and a status for each caller."""
    rows = {}
    for line in TABLE.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        cells = line.split()
        key, statuses = " ".join(cells[: -len(CALLERS)]), cells[-len(CALLERS) :]
        assert key not in rows, f"{key} stands twice"
        rows[key] = dict(zip(CALLERS, map(int, statuses), strict=True))
    return rows


# Of each page with a row in its path, which of the world's it is.
ROWS = {
    "/accounts/<uuid:pk>/": "desk",
    "/accounts/<uuid:pk>/members/": "lab",
    "/accounts/<uuid:pk>/children/": "lab",
    "/accounts/<uuid:pk>/reports/": "lab",
    "/accounts/<uuid:pk>/statements/": "lab",
    "/accounts/<uuid:pk>/statements/<uuid:statement_id>/": "lab",
    "/accounts/<uuid:pk>/contracts/": "lab",
    "/accounts/<uuid:pk>/contracts/<uuid:contract_id>/": "lab",
    "/accounts/<uuid:pk>/files/": "lab",
    "/accounts/<uuid:pk>/wallet/": "lab",
    "/accounts/<uuid:pk>/earnings/": "lab",
    "/accounts/<uuid:pk>/wallet/payments/": "lab",
    "/accounts/<uuid:pk>/wallet/payments/<uuid:payment_id>/": "lab",
    "/accounts/<uuid:pk>/webhooks/": "lab",
    "/accounts/<uuid:pk>/webhooks/<uuid:webhook>/": "lab",
    "/hosts/<uuid:pk>/": "host_row",
    "/tasks/<uuid:pk>/": "waiting",
}
# Of each form of a page, which row it is about and what is typed.
AMOUNT = {"amount": "1", "asset": "GPU"}
AGREED = {
    "key": "page",
    "title": "Monthly",
    "interval": "month",
    "time_zone": "UTC",
    "shortfall": "retry",
    "catch_up": "skip",
    "renewal": "none",
}
FORMS: dict[str, tuple[str, Form]] = {
    "create_account": ("", {"name": "New"}),
    "fund": ("", {**AMOUNT, "key": "page"}),
    "reclaim": ("", {**AMOUNT, "key": "page"}),
    "pay_by_card": ("", {"amount": "5", "key": "page"}),
    "pay_by_chain": ("", {"amount": "5", "key": "page"}),
    "pay_by_transfer": ("", {"amount": "5", "key": "page"}),
    "send_file": ("", lambda world: {"file": SimpleUploadedFile("new.csv", b"1,2")}),
    "delete_upload": ("open_upload", {}),
    "cancel_payment": ("payment", {}),
    "ask_payout": (
        "",
        lambda world: {"amount": "10", "destination": str(world.destination.pk), "key": str(uuid.uuid4())},
    ),
    "cancel_payout": ("payout", {}),
    "add_destination": ("", {"kind": "manual", "detail": "Account 12, Owner", "label": "", "replaces": ""}),
    "retire_destination": ("destination", {}),
    "offer_allowance": ("", lambda world: {**AGREED, **AMOUNT, "roll_over": "keep", "payee": str(world.desk.pk)}),
    "reserve": (
        "",
        lambda world: {**AGREED, "hours": "1", "price": "5", "roll_over": "keep", "payee": str(world.desk.pk)},
    ),
    "accept_terms": ("", {"version": "1"}),
    "decline_terms": ("", {}),
    "change_terms": ("", {"amount": "2"}),
    "pause_contract": ("", {}),
    "resume_contract": ("", {}),
    "cancel_contract": ("", {}),
    "name_transaction": ("", {"hash": "0x" + "0" * 64}),
    "set_cap": ("", {**AMOUNT, "period": "day"}),
    "remove_cap": ("cap", {}),
    "set_threshold": ("", AMOUNT),
    "set_low_mark": ("", AMOUNT),
    "remove_threshold": ("threshold", {}),
    "set_pays_from": ("", {"pays_from": "SELF"}),
    "rename": ("", {"name": "New"}),
    "unlink": ("", {}),
    "create_child": ("", {"name": "New", "pays_from": "SELF"}),
    "invite_child": ("", {"email": "new@example.test", "pays_from": "SELF"}),
    "invite": ("", {"email": "new@example.test", "role": "MEMBER"}),
    "change_role": ("mate", {"role": "MEMBER"}),
    "remove_member": ("mate", {}),
    "withdraw": ("invitation", {}),
    "create_key": ("", {"name": "New", "scopes": ["tasks:read"], "cap_period": "month"}),
    "rotate_key": ("api_key", {"overlap": "0"}),
    "revoke_key": ("api_key", {}),
    "create_webhook": ("", {**HOOK, "includes_children": "one"}),
    "change_webhook": ("", {**HOOK, "includes_children": "below"}),
    "try_webhook": ("", {}),
    "rotate_secret": ("", {"overlap": "0"}),
    "switch_on": ("", {}),
    "switch_off": ("", {}),
    "delete_webhook": ("", {}),
    "redeliver": ("delivery", {}),
    "add_host": ("", lambda world: {"name": "New", "account": str(world.lab.pk)}),
    "drain": ("", {}),
    "undrain": ("", {}),
    "maintenance": ("", {}),
    "revoke": ("", {"reason": "Old"}),
    "join_token": ("", {}),
    "offer": ("gpu", {"price": "1", "visibility": "PRIVATE", "accepts_quota": "on"}),
    "schedule": ("gpu", {"windows": "", "time_zone": "UTC"}),
    "list": ("unlisted_gpu", {}),
    "unlist": ("gpu", {}),
}
# Forms that want another row than their page's.
ELSEWHERE = {
    "unlink": "club",
    "undrain": "draining_host",
    "join_token": "joining_host",
    "list": "second_host",
}


@dataclass
class Answers:
    statuses: dict[str, int]
    seen: dict[str, str]
    absent: dict[str, tuple[int, int]]
    left_traces: list[str]


def ask(key: str, world: World, wanted: dict[str, int]) -> Answers:
    """Open a page, or send its form, as everybody, each on the same rows."""
    method, _, rest = key.partition(" ")
    route, _, verb = rest.partition(NOTE)
    verb = verb.rstrip(")")
    answers = Answers({}, {}, {}, [])
    for caller in sorted(CALLERS, key=lambda name: wanted.get(name, 0) >= 400):
        before = count_traces()
        with transaction.atomic():
            answer = _send(method, _path(route, verb, world), verb, route, world, caller)
            after = count_traces()
            transaction.set_rollback(True)
        answers.statuses[caller] = answer.status_code
        if answer.status_code >= 400 and after != before:
            answers.left_traces.append(caller)
        if caller in STRANGERS:
            answers.seen[caller] = b"".join(answer).decode(errors="replace")
            if "<uuid:" in route:
                with transaction.atomic():
                    other = _send(
                        method, _named(route, world).replace("<uuid:pk>", str(UNKNOWN)), verb, route, world, caller
                    )
                    transaction.set_rollback(True)
                answers.absent[caller] = answer.status_code, other.status_code
    return answers


def _path(route: str, verb: str, world: World) -> str:
    if "<uuid:" in route:
        name = ELSEWHERE.get(verb) or ROWS[route]
        if name == "second_host":
            return route.replace("<uuid:pk>", str(world.unlisted_gpu.host_id))
        return _named(route, world).replace("<uuid:pk>", str(world.rows[name].pk))
    path = route.replace("<int:pk>", "1")
    if route == "/tasks/decide/":
        return f"{path}?token={quote(letter_token(world.step, world.users['superuser']))}"
    return f"{path}?token={world.letter}" if route == "/accounts/join/" else path


def _named(route: str, world: World) -> str:
    """Put in the rows that a path names beside its first one."""
    route = route.replace("<uuid:contract_id>", str(world.rows["contract"].pk))
    route = route.replace("<uuid:statement_id>", str(world.rows["statement"].pk))
    route = route.replace("<uuid:webhook>", str(world.rows["webhook"].pk))
    return route.replace("<uuid:payment_id>", str(world.rows["payment"].pk))


def _send(method: str, path: str, verb: str, route: str, world: World, caller: str) -> Any:
    cache.clear()
    client = Client(raise_request_exception=False)
    if caller != "nobody":
        client.force_login(world.users[caller])
    if method == "GET":
        return client.get(path)
    of, typed = FORMS[verb]
    of = "link_invitation" if verb == "withdraw" and route.endswith("children/") else of
    body = typed(world) if callable(typed) else typed
    return client.post(path, {"do": verb, "of": str(world.rows[of].pk) if of else "", **body})


LINES = expected()


@pytest.fixture(scope="module")
def answers(django_db_setup: None, django_db_blocker: Any) -> dict[str, Answers]:
    """Ask everything once; the tests look at the answers."""
    with a_world(django_db_blocker) as world:
        return {key: ask(key, world, LINES[key]) for key in LINES}


@pytest.mark.django_db  # pytest-django makes a database only where a test is marked
class TestPageMatrix:
    def test_every_page_and_form_has_a_line(self) -> None:
        wanted = wanted_lines()
        assert sorted(wanted - set(LINES)) == [], "give these a line in page_matrix.txt"
        assert sorted(set(LINES) - wanted) == [], "these are no pages any more"

    def test_each_form_has_somebody_who_may(self) -> None:
        nobody = {key for key, row in LINES.items() if all(status >= 400 for status in row.values())}
        assert nobody == NOBODY_MAY

    @pytest.mark.parametrize("key", LINES)
    def test_it_answers_everybody_as_the_table_says(self, answers: dict[str, Answers], key: str) -> None:
        other = {
            caller: f"{got}, not {LINES[key][caller]}"
            for caller, got in answers[key].statuses.items()
            if got != LINES[key][caller]
        }
        assert other == {}

    @pytest.mark.parametrize("key", [key for key in LINES if "<uuid:" in key])
    def test_what_is_not_theirs_is_as_if_it_were_not_there(self, answers: dict[str, Answers], key: str) -> None:
        assert {name: pair for name, pair in answers[key].absent.items() if pair[0] != pair[1]} == {}

    @pytest.mark.parametrize("key", [key for key in LINES if not key.endswith(LETTERS)])
    def test_strangers_learn_nothing(self, answers: dict[str, Answers], key: str) -> None:
        assert [caller for caller, body in answers[key].seen.items() if SECRET in body] == []

    @pytest.mark.parametrize("key", LINES)
    def test_a_refusal_leaves_no_trace(self, answers: dict[str, Answers], key: str) -> None:
        assert answers[key].left_traces == []
