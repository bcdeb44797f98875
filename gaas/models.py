from __future__ import annotations

from django.db import models


class Tick(models.Model):
    """Remember the last slot in which a periodic job fired, so that many `beat` processes fire it once.

    A slot is the Unix time divided by the job's period; the conditional UPDATE to a later one is the claim.
    """

    job = models.CharField(max_length=100, primary_key=True)
    slot = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.job}, slot {self.slot}"
