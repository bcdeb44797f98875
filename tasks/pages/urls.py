"""Pages of tasks, under /tasks/."""

from __future__ import annotations

from django.urls import path

from tasks.pages import decide, files, views

# Under /accounts/, beside the account's other pages.
of_account = [path("<uuid:pk>/files/", files.Files.as_view(), name="account_files")]

urlpatterns = [
    path("", views.tasks, name="tasks"),
    path("decide/", decide.Decide.as_view(), name="approval_decide"),
    path("<uuid:pk>/", views.task, name="task"),
]
