"""Routes for agents, mounted under /api/agent/<version>/. The wait is answered by gaas.live, before Django."""

from __future__ import annotations

from django.urls import path

from tasks.agent_api.files import ArtifactsView, CheckpointView, FileView
from tasks.agent_api.views import FinishView, LogsView, StartView, SyncView

urlpatterns = [
    path("sync", SyncView.as_view(), name="agent-sync"),
    path("attempts/<uuid:attempt_id>/start", StartView.as_view(), name="agent-start"),
    path("attempts/<uuid:attempt_id>/logs", LogsView.as_view(), name="agent-logs"),
    path("attempts/<uuid:attempt_id>/files/<uuid:file_id>", FileView.as_view(), name="agent-file"),
    path("attempts/<uuid:attempt_id>/artifacts", ArtifactsView.as_view(), name="agent-artifacts"),
    path("attempts/<uuid:attempt_id>/checkpoint", CheckpointView.as_view(), name="agent-checkpoint"),
    path("attempts/<uuid:attempt_id>/finish", FinishView.as_view(), name="agent-finish"),
]
