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


class LogArchive(Row):
    """Name the object that holds a log of `size` bytes once its attempt has ended. One that is not kept is swept away.

    The object is a row of gzip members of `member_bytes` of the log each, the last one shorter; member n lies from
    byte `members[n]` to `members[n + 1]`. `sha256` is of the log, not of the object.
    """

    # A row that went with its attempt would leave an object that nobody knows of.
    attempt = models.ForeignKey("tasks.Attempt", on_delete=models.PROTECT, related_name="log_archives")
    ended_at = models.DateTimeField(help_text="When the attempt did; from here LOG_KEEP_DAYS are counted.")
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    key = models.CharField(max_length=100, unique=True)
    member_bytes = models.PositiveIntegerField()
    members = models.JSONField()
    is_kept = models.BooleanField(default=False)

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(fields=["attempt"], name="log_archive_once", condition=Q(is_kept=True)),
            models.CheckConstraint(name="log_archive_of_something", condition=Q(size__gt=0, member_bytes__gt=0)),
        ]
        indexes = [
            models.Index(fields=["ended_at"], name="log_archive_by_end", condition=Q(is_kept=True)),
            models.Index(fields=["created_at"], name="log_archive_unkept", condition=Q(is_kept=False)),
        ]

    def __str__(self) -> str:
        return f"log of {self.attempt_id}, {self.size} bytes"
