"""What every table has: a UUIDv7 and two moments."""

from __future__ import annotations

from django.db import models

from gaas.lib.ids import uuid7


class Row(models.Model):
    """Carry an id that sorts by creation, so that the primary key is also the order of lists."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    created_at = models.DateTimeField(auto_now_add=True, editable=False)
    updated_at = models.DateTimeField(auto_now=True, editable=False)

    class Meta:
        abstract = True
        ordering = ["-id"]
