"""What holds for each route of the API, so that a new one cannot forget it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, get_resolver

from accounts.api.views.auth import OpenView


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
        is_open = issubclass(view.cls, OpenView) or not view.cls.authentication_classes
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
        posts = [(route, view) for route, view in for_users() if takes_posts(view)]
        assert len(posts) > 15
        assert [route for route, view in posts if not getattr(view.cls, "takes_idempotency_key", False)] == []
