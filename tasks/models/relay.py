from __future__ import annotations

from django.db import models

from gaas.lib.rows import Row


class Relay(Row):
    """Say which `live` process holds the agent's WebSocket of a running attempt that serves.

    A row may outlive its process: whoever finds nobody there tells the caller to come again, and the agent's next
    connection writes the row anew. `connection` tells the newest connection from one that is only just closing.
    """

    attempt = models.OneToOneField("tasks.Attempt", on_delete=models.CASCADE, related_name="relay")
    connection = models.UUIDField()
    url = models.CharField(max_length=200, help_text="Where other live processes reach that one.")

    class Meta(Row.Meta):
        verbose_name = "relay"

    def __str__(self) -> str:
        return f"relay of {self.attempt_id} at {self.url}"
