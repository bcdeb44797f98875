from __future__ import annotations

from typing import ClassVar

from django.db import models

from gaas.lib.events import Event


class TaskEvent(Event):
    """Record one change in a task's life."""

    OF: ClassVar = "task"

    task = models.ForeignKey("tasks.Task", on_delete=models.CASCADE, related_name="events", editable=False)

    class Meta(Event.Meta):
        abstract = False
        verbose_name = "task event"
        indexes = [models.Index(fields=["task", "id"], name="task_event_by_task")]
