from __future__ import annotations

from django.db import models


class Scheduler(models.Model):
    """Count wakes asked for and wakes served: a pass is due while `requested` is ahead (one row, id 1).

    `last_pass_at` is what /readyz shows. `last_sweep_at` tells the reaper of a gap in its own ticks, and
    `sweeping_since` when the last one ended.
    """

    requested = models.BigIntegerField(default=0)
    served = models.BigIntegerField(default=0)
    last_pass_at = models.DateTimeField(null=True)
    last_sweep_at = models.DateTimeField(null=True)
    sweeping_since = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.CheckConstraint(name="scheduler_single_row", condition=models.Q(id=1))]

    def __str__(self) -> str:
        return f"scheduler, {self.requested - self.served} wakes waiting"
