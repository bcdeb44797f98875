from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.cache import cache
from rest_framework.test import APIClient

from gaas.lib.rest.throttles import api_settings

Post = Callable[..., Any]


@pytest.fixture(autouse=True)
def _kit(settings: Any) -> Iterator[None]:
    settings.ROOT_URLCONF = "gaas.lib.rest.tests.urls"
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def client() -> APIClient:
    return APIClient(raise_request_exception=False)


@pytest.fixture
def post(client: APIClient) -> Post:
    """Send a body as it is: text or bytes of JSON."""

    def send(body: str | bytes, path: str = "/api/v1/echo/", **headers: Any) -> Any:
        data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
        return client.generic(
            "POST", path, data, content_type=headers.pop("content_type", "application/json"), **headers
        )

    return send


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the rates of scopes."""

    def set_rates(**by_scope: str) -> None:
        monkeypatch.setattr(
            api_settings, "DEFAULT_THROTTLE_RATES", {**api_settings.DEFAULT_THROTTLE_RATES, **by_scope}, raising=False
        )

    return set_rates
