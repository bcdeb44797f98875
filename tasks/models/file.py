from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from gaas.lib.lifecycle import Lifecycle
from gaas.lib.rows import Row
from tasks.choices import ArtifactKind, FileStatus
from tasks.querysets import ArtifactQuerySet, StoredFileQuerySet, UploadQuerySet


class StoredFile(Row, Lifecycle):
    """Keep bytes for an account: `size` is promised and counted from the first moment, `received` is what is here.

    The bytes lie in pieces; nothing is ever written twice under a key. `sha256` is what was promised until the
    file is WHOLE, then what its bytes have. `due_at` is when the sweep removes it, unless a live task needs it.
    """

    TRANSITIONS: ClassVar[dict[str, set[str]]] = {
        FileStatus.OPEN: {FileStatus.WHOLE, FileStatus.REMOVED},
        FileStatus.WHOLE: {FileStatus.REMOVED},
        FileStatus.REMOVED: set(),
    }

    account = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="+")
    size = models.BigIntegerField()
    received = models.BigIntegerField(default=0, editable=False)
    sha256 = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=8, choices=FileStatus, default=FileStatus.OPEN, editable=False)
    completed_at = models.DateTimeField(null=True, blank=True, editable=False)
    due_at = models.DateTimeField(editable=False)

    objects = StoredFileQuerySet.as_manager()

    class Meta(Row.Meta):
        verbose_name = "file"
        permissions = [("read_storedfile", "Can read the bytes of others' files")]
        constraints = [
            models.CheckConstraint(name="file_received_in_size", condition=Q(received__gte=0, received__lte=F("size"))),
            models.CheckConstraint(
                name="file_whole_has_all", condition=~Q(status="WHOLE") | (Q(received=F("size")) & ~Q(sha256=""))
            ),
        ]
        indexes = [models.Index(fields=["due_at"], name="file_due", condition=~Q(status="REMOVED"))]

    def __str__(self) -> str:
        return f"{self.size} bytes"

    @property
    def is_whole(self) -> bool:
        return self.status == FileStatus.WHOLE

    def complete(self, *, sha256: str, due_at: datetime, now: datetime) -> bool:
        """State that all bytes are here and what their digest is."""
        return self._move_to(FileStatus.WHOLE, by=None, now=now, sha256=sha256, completed_at=now, due_at=due_at)

    def remove(self, *, now: datetime) -> bool:
        """Give the bytes up; the caller has them deleted and the count corrected."""
        return self._move_to(FileStatus.REMOVED, by=None, now=now)

    def _record_move(self, old: str, new: str, *, by: object | None, reason: str, now: datetime) -> None:
        # The upload or the artifact is what people know; the row itself says when.
        return None


class FilePiece(Row):
    """Name the object that holds a file's bytes from `offset`. One that is not kept (its writer died) is swept away."""

    file = models.ForeignKey(StoredFile, on_delete=models.CASCADE, related_name="pieces")
    offset = models.BigIntegerField()
    size = models.BigIntegerField(default=0)
    key = models.CharField(max_length=100, unique=True)
    is_kept = models.BooleanField(default=False)

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(fields=["file", "offset"], name="file_piece_once", condition=Q(is_kept=True)),
        ]
        indexes = [models.Index(fields=["created_at"], name="file_piece_unkept", condition=Q(is_kept=False))]

    def __str__(self) -> str:
        return f"{self.size} bytes from {self.offset}"


class Upload(Row):
    """Name a file that somebody sent to be used by tasks."""

    account = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="uploads")
    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=512)
    file = models.OneToOneField(StoredFile, on_delete=models.CASCADE, related_name="upload")

    objects = UploadQuerySet.as_manager()

    class Meta(Row.Meta):
        indexes = [models.Index(fields=["account", "-id"], name="upload_by_account")]

    def __str__(self) -> str:
        return self.name


class Artifact(Row):
    """Name a file that an attempt left: a result, or a part of a checkpoint.

    The current checkpoint of a task is the set of its rows with `is_current`; the agent replaces the whole set.
    """

    attempt = models.ForeignKey("tasks.Attempt", on_delete=models.CASCADE, related_name="artifacts")
    task = models.ForeignKey("tasks.Task", on_delete=models.CASCADE, related_name="artifacts")
    kind = models.CharField(max_length=10, choices=ArtifactKind)
    name = models.CharField(max_length=512)
    folded = models.CharField(max_length=1024, editable=False)
    is_current = models.BooleanField(default=False, editable=False)
    file = models.OneToOneField(StoredFile, on_delete=models.CASCADE, related_name="artifact")

    objects = ArtifactQuerySet.as_manager()

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["attempt", "folded"], name="artifact_name_once", condition=Q(kind=ArtifactKind.OUTPUT)
            ),
            models.UniqueConstraint(
                fields=["attempt", "folded"],
                name="artifact_checkpoint_under_way_once",
                condition=Q(kind=ArtifactKind.CHECKPOINT, is_current=False),
            ),
            models.UniqueConstraint(
                fields=["task", "folded"], name="artifact_checkpoint_current_once", condition=Q(is_current=True)
            ),
        ]
        indexes = [models.Index(fields=["task", "-id"], name="artifact_by_task")]

    def __str__(self) -> str:
        return self.name


class FileUse(Row):
    """Note that a task was given a file; while the task lives the file stays."""

    task = models.ForeignKey("tasks.Task", on_delete=models.CASCADE, related_name="file_uses")
    file = models.ForeignKey(StoredFile, on_delete=models.CASCADE, related_name="uses")

    class Meta(Row.Meta):
        constraints = [models.UniqueConstraint(fields=["task", "file"], name="file_use_once")]

    def __str__(self) -> str:
        return f"{self.file_id} in {self.task_id}"
