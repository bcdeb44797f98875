"""What hostile callers send, to every endpoint at once: filters, fields, texts and credentials of others' making."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.core.cache import cache
from django.db import transaction
from django.urls import reverse
from rest_framework.test import APIClient

from gaas.tests.matrix_calls import CALLS, Call
from gaas.tests.matrix_world import SECRET, World, a_world
from gaas.tests.test_matrix import NOBODY_MAY, ROWS

pytestmark = pytest.mark.django_db

LISTS = [key for key in ROWS if key.startswith("GET v1/") and not key.endswith("{pk}/") and "auth/" not in key]
# Each endpoint that takes a body, with somebody whom it lets do it.
BODIES = {
    key: next(
        name for name in ("owner", "member", "Approvers", "Fleet", "superuser", "outsider", "nobody") if may[name] < 300
    )
    for key, may in ROWS.items()
    if key.partition(" ")[0] in ("POST", "PATCH") and key.partition(" ")[2].startswith("v1/") and key not in NOBODY_MAY
}
NOT_THEIRS = {
    "status": "APPROVED",
    "owner": "x",
    "balance": 1,
    "is_staff": True,
    "is_superuser": True,
    "groups": ["Finance"],
    "approved_by": "x",
    "hours_available": "9",
    "submitted_by": "x",
    "id": "00000000-0000-7000-8000-00000000dead",
}
INJECTIONS = [
    "' OR '1'='1",
    "'; DROP TABLE accounts_user; --",
    "1) UNION SELECT password FROM accounts_user--",
    "%",
    "_",
    "\\",
    "{{7*7}}",
]
LONG = {
    "one letter": "a" * 50_000,
    "opening brackets": "(" * 50_000,
    "blanks before a letter": " " * 50_000 + "x",
    "at signs": "@" * 50_000,
    "an address that goes on": "a@" + "a." * 25_000,
    "digits": "1" * 50_000,
    "combining marks": "e" + "\u0301" * 25_000,
    "slashes": "/" * 50_000,
    "decimal that goes on": "0." + "0" * 50_000,
}


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[World]:
    with a_world(django_db_blocker) as world:
        yield world


@pytest.fixture(autouse=True)
def _fresh(world: World) -> Iterator[None]:
    """Undo what a test does to the rows that all share."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def send(world: World, caller: str, key: str, body: Any, query: str = "") -> Any:
    cache.clear()
    call = CALLS.get(key, Call())
    client, path = world.callers[caller], call.path(key, world) + query
    if key.startswith("GET "):
        return client.get(path)
    with transaction.atomic():
        answer = getattr(client, key.partition(" ")[0].lower())(path, body, format="json", **call.headers)
        transaction.set_rollback(True)
    return answer


def good_body(world: World, key: str) -> dict[str, Any]:
    body = CALLS.get(key, Call()).payload(world)
    return dict(body) if isinstance(body, dict) else {}


# Parameters that no list has, however much their names promise.
NO_PARAMETERS = {
    "owner__password__startswith": "m",
    "submitted_by__password__startswith": "m",
    "user__password__regex": ".",
    "account__memberships__user__email": "mate@example.test",
    "password": "x",
    "page": "2",
    "limit": "1000000",
}
# What lists have, with values that ask for more.
NO_VALUES = [
    "q=x",
    "ordering=submitted_by__password",
    "ordering=-password",
    "ordering=id;DROP TABLE accounts_user",
    "fields=password",
    "fields=account__name",
    "page_size=1 OR 1=1",
    "cursor=' OR 1=1 --",
]
FILTERS = ("account", "status", "owner", "model", "region", "kind", "action", "q")


@pytest.mark.parametrize("key", LISTS)
class TestLists:
    def test_no_query_asks_for_more(self, world: World, key: str) -> None:
        for caller in ("owner", "superuser"):
            answer = send(world, caller, key, None, f"?{urlencode(NO_PARAMETERS)}")
            assert answer.status_code == 400, caller
            assert {error["attr"] for error in answer.json()["errors"]} == set(NO_PARAMETERS), caller
            for query in NO_VALUES:
                answer = send(world, caller, key, None, f"?{query}")
                assert answer.status_code == 400 or _takes_no_query(key), (caller, query, answer.content[:200])

    def test_an_injection_finds_nothing_and_breaks_nothing(self, world: World, key: str) -> None:
        path = CALLS.get(key, Call()).path(key, world)
        asked = world.callers["owner"].get(path, dict.fromkeys(FILTERS, INJECTIONS[0]))
        unknown = {e["attr"] for e in asked.json().get("errors", ()) if e["code"] == "unknown_filter"}
        for name in {*FILTERS} - unknown:
            for text in INJECTIONS:
                answer = world.callers["outsider"].get(path, {name: text})
                assert answer.status_code in (200, 400, 404), (name, text, answer.status_code)
                assert SECRET not in answer.content.decode()


def _takes_no_query(key: str) -> bool:
    """Tell what is one object or one text: its view has no list to narrow."""
    return key in {"GET v1/", "GET v1/users/me/"}


@pytest.mark.parametrize("key", BODIES)
class TestBodies:
    def test_nobody_assigns_what_is_not_theirs(self, world: World, key: str) -> None:
        body = good_body(world, key)
        assert send(world, BODIES[key], key, body).status_code < 300
        answer = send(world, BODIES[key], key, {**body, **NOT_THEIRS})
        assert answer.status_code == 400, answer.content[:200]
        named = {error["attr"] for error in answer.json()["errors"] if error["code"] == "unknown_field"}
        assert named == set(NOT_THEIRS)

    def test_no_long_text_takes_long(self, world: World, key: str) -> None:
        body = good_body(world, key)
        for field in [name for name, value in body.items() if isinstance(value, str)]:
            for kind, text in LONG.items():
                started = time.process_time()
                answer = send(world, BODIES[key], key, {**body, field: text})
                assert time.process_time() - started < 3, (field, kind)
                assert answer.status_code < 500, (field, kind)


class TestCredentials:
    """One kind of credential is no other kind, wherever it is shown."""

    def test_none_is_taken_for_another(self, world: World) -> None:
        key = world.callers["key"].defaults["HTTP_AUTHORIZATION"].split()[1]
        secret = world.callers["host"].defaults["HTTP_AUTHORIZATION"].split()[1]
        access = world.callers["owner"].defaults["HTTP_AUTHORIZATION"].split()[1]
        wrong = {
            "/api/v1/users/me/": [
                *(f"{scheme} {secret}" for scheme in ("Bearer", "Api-Key", "Host")),
                *(f"{scheme} {world.refresh}" for scheme in ("Bearer", "Api-Key", "Host")),
                f"Api-Key {access}",
                f"Host {key}",
                f"Basic {key}",
                f"Token {access}",
            ],
            "/api/agent/v1/sync": [
                *(f"{scheme} {secret}" for scheme in ("Bearer", "Api-Key")),
                *(f"Host {other}" for other in (key, access, world.refresh, world.join_token)),
                f"Bearer {access}",
                f"Api-Key {key}",
            ],
        }
        assert APIClient(HTTP_AUTHORIZATION=f"Bearer {access}").get("/api/v1/users/me/").status_code == 200
        for path, credentials in wrong.items():
            method = "post" if "agent" in path else "get"
            for credential in credentials:
                answer = getattr(APIClient(HTTP_AUTHORIZATION=credential), method)(path)
                assert answer.status_code == 401, (path, credential.split()[0])
                assert answer["WWW-Authenticate"]

    def test_an_overridden_method_stays_what_it_is(self, world: World) -> None:
        path = CALLS["DELETE v1/accounts/{account}/members/{pk}/"].path(
            "DELETE v1/accounts/{account}/members/{pk}/", world
        )
        for header in ("HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_X_METHOD_OVERRIDE", "HTTP_X_HTTP_METHOD"):
            assert world.callers["owner"].get(path, **{header: "DELETE"}).status_code == 200
            assert world.callers["owner"].post(f"{path}?_method=DELETE", **{header: "DELETE"}).status_code == 405
        assert world.callers["owner"].get(path).status_code == 200


class TestAdminSearch:
    def test_an_injection_breaks_no_list(self, world: World, client: Any, rf: Any) -> None:
        """The search itself is asked for each text; the page around it, which costs ten times that, for one."""
        client.force_login(world.users["superuser"])
        client.raise_request_exception = False
        for model, lists in admin.site._registry.items():
            path = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
            assert client.get(path, {"q": " ".join(INJECTIONS)}).status_code in (200, 302), path
            for text in [*INJECTIONS, "a" * 50_000, "\u202e", "=1+1"]:
                started = time.process_time()
                request = rf.get(path, {"q": text})
                request.user = world.users["superuser"]
                list(lists.get_changelist_instance(request).result_list)
                assert time.process_time() - started < 3, (path, text[:20])
