from __future__ import annotations

from django.urls import path

from gpus.api.views import JoinView

# Mounted by the project under /api/agent/<version>/.
urlpatterns = [path("join", JoinView.as_view(), name="agent-join")]
