"""What holds for each route of the API, so that a new one cannot forget it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import URLPattern, get_resolver
from rest_framework.test import APIClient

from accounts.choices import Scope
from accounts.models import ApiKey, User
from accounts.services.keys import create_key
from gaas.lib import clock


def views() -> Iterator[tuple[str, Any]]:
    """Give each DRF view class of the API with its route, once for each route."""
    todo = [("", get_resolver())]
    while todo:
        prefix, resolver = todo.pop()
        for pattern in resolver.url_patterns:
            route = prefix + str(pattern.pattern)
            if not isinstance(pattern, URLPattern):
                todo.append((route, pattern))
            elif hasattr(pattern.callback, "cls") and route.lstrip("^").startswith("api/"):
                yield route, pattern.callback


def for_users() -> Iterator[tuple[str, Any]]:
    """Leave out what is open to all and what only hosts call."""
    for route, view in views():
        is_agents = "agent/" in route
        is_open = not view.cls.authentication_classes
        if not is_open and not is_agents:
            yield route, view


def takes_posts(view: Any) -> bool:
    actions = getattr(view, "actions", None)
    return "post" in actions if actions else hasattr(view.cls, "post")


class TestEveryRoute:
    def test_some_are_found(self) -> None:
        routes = [route for route, _ in for_users()]
        assert len(routes) > 30
        assert any("quota-requests" in route for route in routes)

    def test_a_post_takes_an_idempotency_key(self) -> None:
        posts = [(route, view) for route, view in for_users() if takes_posts(view) and "auth/" not in route]
        assert len(posts) > 15
        assert [route for route, view in posts if not getattr(view.cls, "takes_idempotency_key", False)] == []


# What a person has to log in for. Every other route names the scope that a key needs for it.
WITHOUT_KEYS = ("api-keys/", "auth/", "invitations/accept/", "invitations/link/", "payout-destinations/")


def keyless(route: str) -> bool:
    return any(part in route for part in WITHOUT_KEYS)


@pytest.mark.django_db
class TestKeys:
    def test_each_route_names_its_scope(self) -> None:
        for route, view in for_users():
            scope = view.initkwargs.get("key_scope", getattr(view.cls, "key_scope", None))
            if keyless(route):
                assert scope is None, route
            else:
                assert scope in {*Scope.values, *PARTS}, route

    def test_each_call_asks_for_its_scope(self, alice: User) -> None:
        every = caller(alice, Scope.values)
        wrong = {scope: caller(alice, [other for other in Scope.values if other != scope]) for scope in Scope.values}
        asked = set()
        for route, view in for_users():
            for method in methods_of(view):
                url = at(route)
                if keyless(route):
                    assert code_of(every, method, url) == "key_not_allowed", (method, route)
                    continue
                declared = view.initkwargs.get("key_scope", getattr(view.cls, "key_scope", None))
                scope = declared if ":" in declared else f"{declared}:{'read' if method == 'get' else 'write'}"
                asked.add(scope)
                assert code_of(every, method, url) not in {"scope_missing", "key_not_allowed"}, (method, route)
                assert code_of(wrong[scope], method, url) == "scope_missing", (method, route)
        assert {"accounts:read", "tasks:read", "tasks:write", "gpus:write", "approvals:write"} <= asked


PARTS = {scope.partition(":")[0] for scope in Scope.values}


def methods_of(view: Any) -> set[str]:
    actions = getattr(view, "actions", None)
    return {name for name in ("get", "post", "put", "patch", "delete") if name in (actions or dir(view.cls))}


def at(route: str) -> str:
    """Write a path that a route takes."""
    path = re.sub(r"\(\?P<version>v1\)|v1\(\?P<x>\)", "v1", route.replace("^", "").replace("$", ""))
    path = re.sub(r"\(\?P<\w+>[^)]*\)|<\w+:\w+>|<\w+>", "00000000-0000-7000-8000-000000000000", path)
    return "/" + path.replace("\\", "").replace("//", "/")


def caller(user: User, scopes: list[str]) -> APIClient:
    key, text = create_key(user=user, name="x", scopes=[Scope.TASKS_READ], now=clock.now())
    # Past the check of what a user may give away: here it is the views that are asked.
    ApiKey.objects.filter(pk=key.pk).update(scopes=scopes)
    client = APIClient(HTTP_AUTHORIZATION=f"Api-Key {text}")
    client.raise_request_exception = False
    return client


def code_of(client: APIClient, method: str, url: str) -> str:
    answer = getattr(client, method)(url, {}, format="json")
    if answer.status_code < 400:
        return ""
    return str(answer.json()["errors"][0]["code"])
