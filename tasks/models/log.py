from __future__ import annotations

from django.db import models
from django.db.models import Q

from gaas.lib.rows import Row


class LogChunk(Row):
    """Keep a piece of an attempt's log at its byte offset; pieces neither overlap nor leave holes."""

    attempt = models.ForeignKey("tasks.Attempt", on_delete=models.CASCADE, related_name="log_chunks")
    offset = models.BigIntegerField()
    data = models.BinaryField()

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(fields=["attempt", "offset"], name="log_chunk_offset_once"),
            models.CheckConstraint(name="log_chunk_offset_positive", condition=Q(offset__gte=0)),
        ]

    def __str__(self) -> str:
        return f"log of {self.attempt_id} from byte {self.offset}"
