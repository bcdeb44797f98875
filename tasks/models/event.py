from __future__ import annotations

from django.conf import settings
from django.db import models

from gaas.lib.rows import Row


class TaskEvent(Row):
    """Record one change in a task's life. `from_status` equals `to_status` for a note within a state."""

    task = models.ForeignKey("tasks.Task", on_delete=models.CASCADE, related_name="events", editable=False)
    from_status = models.CharField(max_length=12, blank=True, editable=False)
    to_status = models.CharField(max_length=12, editable=False)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", editable=False
    )
    by_label = models.CharField(max_length=254, editable=False)
    reason = models.TextField(blank=True, editable=False)
    at = models.DateTimeField(editable=False)

    class Meta(Row.Meta):
        verbose_name = "task event"
        indexes = [models.Index(fields=["task", "id"], name="task_event_by_task")]

    def __str__(self) -> str:
        return f"{self.from_status or 'new'} → {self.to_status} by {self.by_label}"


def label_of(by: object | None) -> str:
    """Name who did it, for a reader of the history: an e-mail address, a host, or the platform."""
    if by is None:
        return "platform"
    if hasattr(by, "email"):
        return str(by.email)
    return f"{type(by)._meta.verbose_name} {by}"  # type: ignore[attr-defined]
