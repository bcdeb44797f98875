"""The API: version 1 for people and scripts, the agents' own, and the documents about both."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerSplitView

from gaas import pages


def _apps(*modules: str) -> list[Any]:
    return [
        path("", include(module)) for module in modules if find_spec(module.rpartition(".")[0]) and find_spec(module)
    ]


urlpatterns = [
    re_path(r"^(?P<version>v1)/", include(_apps("accounts.api.urls", "gpus.api.urls", "tasks.api.urls"))),
    path("agent/v1/", include(_apps("gpus.api.agent_urls", "tasks.agent_api.urls"))),
    path("schema/", SpectacularAPIView.as_view(throttle_classes=[]), name="schema"),
    path(
        "docs/",
        pages.with_policy(SpectacularSwaggerSplitView.as_view(throttle_classes=[]), pages.DOCS_POLICY),
        name="docs",
    ),
    path(
        "redoc/",
        pages.with_policy(SpectacularRedocView.as_view(throttle_classes=[]), pages.DOCS_POLICY),
        name="redoc",
    ),
    re_path(r"^.*$", pages.unknown_route),
]
