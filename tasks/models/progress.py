from __future__ import annotations

from django.db import models


class ProgressPoint(models.Model):
    """Keep where an attempt's program was `second` seconds after its start, as its progress line told it.

    Written while programs run, so it carries no UUID; which seconds are kept: tasks/services/curves.py.
    """

    attempt = models.ForeignKey("tasks.Attempt", on_delete=models.CASCADE, related_name="points", editable=False)
    second = models.PositiveIntegerField()
    at = models.DateTimeField()
    step = models.FloatField(null=True)
    of = models.FloatField(null=True)
    metrics = models.JSONField(default=dict)

    class Meta:
        verbose_name = "point of a curve"
        verbose_name_plural = "points of curves"
        constraints = [models.UniqueConstraint(fields=["attempt", "second"], name="progress_point_once")]

    def __str__(self) -> str:
        return f"{self.attempt_id} after {self.second} s"
