"""Pages of tasks, under /tasks/."""

from __future__ import annotations

from django.urls import path

from tasks.pages import decide, views

urlpatterns = [
    path("", views.tasks, name="tasks"),
    path("decide/", decide.Decide.as_view(), name="approval_decide"),
    path("<uuid:pk>/", views.task, name="task"),
]
