"""Pages of GPU owners, under /hosts/."""

from __future__ import annotations

from django.urls import path

from gpus.pages import views

urlpatterns = [
    path("", views.Hosts.as_view(), name="hosts"),
    path("<uuid:pk>/", views.OneHost.as_view(), name="host"),
]
