"""Pages of tasks, under /tasks/."""

from __future__ import annotations

from django.urls import path

from tasks.pages import views

urlpatterns = [
    path("", views.tasks, name="tasks"),
    path("<uuid:pk>/", views.task, name="task"),
]
