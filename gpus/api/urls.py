from __future__ import annotations

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from gpus.api.views import GPUViewSet, HostViewSet

router = SimpleRouter(use_regex_path=False)
router.register("gpus", GPUViewSet, basename="gpu")
router.register("hosts", HostViewSet, basename="host")

# Mounted by the project under /api/<version>/; JoinView stands with the agents' calls.
urlpatterns = [path("", include(router.urls))]
