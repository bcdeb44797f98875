from __future__ import annotations

from django.db import models

from gaas.lib.rows import Row


class HostDay(Row):
    """Count the minutes of one UTC day in which a host was to be up, and those in which it was.

    Reliability is made of these.
    """

    host = models.ForeignKey("gpus.Host", on_delete=models.CASCADE, related_name="days", editable=False)
    day = models.DateField()
    counted_minutes = models.PositiveSmallIntegerField(default=0)
    up_minutes = models.PositiveSmallIntegerField(default=0)
    counted_at = models.DateTimeField(help_text="The last minute that was counted.")

    class Meta(Row.Meta):
        verbose_name = "day of a host"
        verbose_name_plural = "days of hosts"
        constraints = [
            models.UniqueConstraint(fields=["host", "day"], name="host_day_once"),
            models.CheckConstraint(
                condition=models.Q(up_minutes__lte=models.F("counted_minutes")), name="host_day_up_is_counted"
            ),
        ]
        indexes = [models.Index(fields=["-counted_at"], name="host_day_counted")]

    def __str__(self) -> str:
        return f"{self.host_id} on {self.day}"
