"""Routes of this app, mounted under /api/v1/."""

from __future__ import annotations

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from tasks.api import files
from tasks.api.views import ApprovalViewSet, TaskViewSet

router = SimpleRouter()
router.register("tasks", TaskViewSet, basename="task")
router.register("approvals", ApprovalViewSet, basename="approval")

router.register("uploads", files.UploadViewSet, basename="upload")

OF_TASK = "tasks/<uuid:task>/artifacts"

urlpatterns = [
    path("uploads/<uuid:pk>/content/", files.UploadContentView.as_view(), name="upload-content"),
    path("uploads/<uuid:pk>/complete/", files.UploadCompleteView.as_view(), name="upload-complete"),
    path(f"{OF_TASK}/", files.ArtifactViewSet.as_view({"get": "list"}), name="artifacts"),
    path(f"{OF_TASK}/archive/", files.ArchiveView.as_view(), name="artifacts-archive"),
    path(f"{OF_TASK}/<uuid:pk>/", files.ArtifactViewSet.as_view({"get": "retrieve"}), name="artifact"),
    path(f"{OF_TASK}/<uuid:pk>/content/", files.ArtifactContentView.as_view(), name="artifact-content"),
    path("", include(router.urls)),
]
