"""The API: version 1 for people and scripts, the agents' own, and the documents about both."""

from __future__ import annotations

from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerSplitView

from gaas import pages

routes = [path("", include(module)) for module in ("accounts.api.urls", "gpus.api.urls", "tasks.api.urls")]
agent_routes = [path("", include(module)) for module in ("gpus.api.agent_urls", "tasks.agent_api.urls")]

urlpatterns = [
    re_path(r"^(?P<version>v1)/", include(routes)),
    re_path(r"^agent/(?P<version>v1)/", include(agent_routes)),
    path("schema/", SpectacularAPIView.as_view(throttle_classes=[]), name="schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(throttle_classes=[]), name="docs"),
    path("redoc/", SpectacularRedocView.as_view(throttle_classes=[]), name="redoc"),
    re_path(r"^.*$", pages.unknown_route),
]
