"""The API: version 1 for people and scripts, the agents' own, and the documents about both."""

from __future__ import annotations

from functools import lru_cache

from django.http import HttpResponse
from django.urls import include, path, re_path
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerSplitView
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from gaas import pages
from gaas.lib.rest.filters import StrictQuery

FROM_THE_ROOT = {
    "me": "users-me",
    "users": "user-list",
    "accounts": "account-list",
    "quota-requests": "quota-request-list",
    "api-keys": "api-key-list",
    "gpus": "gpu-list",
    "hosts": "host-list",
    "tasks": "task-list",
    "approvals": "approval-list",
    "payments": "payment-list",
    "statements": "statement-list",
    "contracts": "contract-list",
    "usage": "report-usage",
    "uploads": "upload-list",
    "webhooks": "webhook-list",
}


@extend_schema(exclude=True)
class RootView(StrictQuery, APIView):
    """Where to begin: what the caller has, and what there is."""

    key_scope = "accounts"

    def get_view_name(self) -> str:
        return "GaaS"

    def get(self, request: Request, version: str) -> Response:
        return Response({name: reverse(route, request=request) for name, route in FROM_THE_ROOT.items()})


@lru_cache(maxsize=8)
def written(renderer: type[BaseRenderer], version: str | None) -> bytes:
    """Write the document once a process: it is the same for all, open to all, and costs half a second to make."""
    made = SchemaGenerator(api_version=version).get_schema(request=None, public=True)
    text: bytes = renderer().render(made, renderer.media_type, {})
    return text


class DocumentView(SpectacularAPIView):
    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        renderer, version = request.accepted_renderer, request.version or self._get_version_parameter(request)
        return HttpResponse(
            written(type(renderer), version),
            content_type=f"{renderer.media_type}; charset=utf-8",
            headers={"Content-Disposition": f'inline; filename="{self._get_filename(request, version)}"'},
        )


MODULES = ("accounts.api.urls", "gpus.api.urls", "payments.api.urls", "tasks.api.urls")
routes = [path("", RootView.as_view(), name="api-root")]
routes += [path("", include(module)) for module in MODULES]
agent_routes = [path("", include(module)) for module in ("gpus.api.agent_urls", "tasks.agent_api.urls")]

urlpatterns = [
    re_path(r"^(?P<version>v1)/", include(routes)),
    re_path(r"^agent/(?P<version>v1)/", include(agent_routes)),
    path("schema/", DocumentView.as_view(throttle_classes=[]), name="schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(throttle_classes=[]), name="docs"),
    path("redoc/", SpectacularRedocView.as_view(throttle_classes=[]), name="redoc"),
    re_path(r"^.*$", pages.unknown_route),
]
