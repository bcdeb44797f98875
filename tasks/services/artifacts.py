"""What an attempt leaves: results, and the checkpoint that the next attempt goes on from."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import IO, Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from gaas.lib.errors import DomainError
from gaas.lib.retry import retried
from gpus.agent import names
from gpus.models import Host
from tasks.choices import TERMINAL, ArtifactKind, AttemptStatus, FileStatus
from tasks.models import Artifact, Attempt, StoredFile, Task
from tasks.services import files
from tasks.services.attempts import LeaseLost
from tasks.services.listed import ArtifactsIncomplete, Named
from tasks.services.uploads import TooManyFiles, check_name

log = logging.getLogger("app")


def put_artifact(
    *,
    attempt_id: UUID,
    host: Host,
    epoch: int,
    kind: str,
    named: Named,
    offset: int,
    stream: IO[bytes],
    length: int,
    now: datetime,
) -> tuple[int, bool]:
    """Add bytes to a file of a running attempt; give how many are here and whether it is whole.

    A file of the same name and another content takes the place of the first. Raises LeaseLost, BadName, TooManyFiles,
    FileTooLarge, StorageFull, FileGap, FileTooLong, WrongHash, StorageAway.
    """
    check_name(named.name, "name")
    mine = Attempt.objects.filter(pk=attempt_id, host=host, epoch=epoch, status=AttemptStatus.RUNNING)
    artifact = _open_artifact(mine, kind, named, offset, now)
    file = artifact.file
    if file.is_whole:
        return file.size, True

    def guard() -> None:
        if not mine.select_for_update(no_key=True).exists():
            raise _lost()

    digest = files.append(file, offset=offset, stream=stream, length=length, guard=guard)
    if file.received < file.size:
        return file.received, False
    keep = settings.ARTIFACT_KEEP_SECONDS if kind == ArtifactKind.OUTPUT else settings.UPLOAD_OPEN_SECONDS
    try:
        files.complete(file, sha256=named.sha256, digest=digest, keep_seconds=keep, now=now)
    except files.WrongHash:
        Artifact.objects.filter(pk=artifact.pk).delete()
        raise
    return file.size, True


@retried
def _open_artifact(mine: Any, kind: str, named: Named, offset: int, now: datetime) -> Artifact:
    """Find the row of this file, or begin it, under the lock of its attempt."""
    # The attempt alone: who ends a task locks the task before its attempts.
    attempt = mine.select_for_update(no_key=True, of=("self",)).select_related("task__account").first()
    if attempt is None:
        raise _lost()
    folded = names.folded(named.name)
    of_kind = Artifact.objects.filter(attempt=attempt, kind=kind, is_current=False)
    known = of_kind.filter(folded=folded).select_related("file").first()
    if known is not None:
        same = (known.name, known.file.size, known.file.sha256) == (named.name, named.size, named.sha256)
        if same and known.file.status != FileStatus.REMOVED:
            return known
        if known.name != named.name and known.file.is_whole:
            check_clash(known.name, named.name)
        known.delete()
        files.remove(known.file, now=now)
    if offset:
        raise files.FileGap(0)
    if of_kind.count() >= settings.MAX_ARTIFACTS:
        raise TooManyFiles(f"One attempt keeps at most {settings.MAX_ARTIFACTS} files. Pack them.", attr="name")
    file = files.open_file(account=attempt.task.account, size=named.size, sha256=named.sha256, now=now)
    return Artifact.objects.create(
        attempt=attempt, task=attempt.task, kind=kind, name=named.name, folded=folded, file=file
    )


def _lost() -> LeaseLost:
    return LeaseLost("This attempt is not, or no longer, given to this host: end its program.", attr="epoch")


def check_clash(kept: str, name: str) -> None:
    """Refuse a name that differs from one that is kept in the case or the writing of letters alone."""
    raise DomainError(f"{name} cannot be told from {kept} on every system.", code="bad_name", attr="name")


@retried
def keep_checkpoint(*, attempt_id: UUID, host: Host, epoch: int, listed: list[Named], now: datetime) -> int:
    """Make exactly these files the task's checkpoint, in one step; give how many they are.

    What stood before and is listed again with the same content stays; the rest of it is removed. Raises LeaseLost,
    and ArtifactsIncomplete, which leaves the checkpoint as it was.
    """
    attempt = (
        Attempt.objects.filter(pk=attempt_id, host=host, epoch=epoch, status=AttemptStatus.RUNNING)
        .select_for_update(no_key=True)
        .first()
    )
    if attempt is None:
        raise _lost()
    rows = Artifact.objects.filter(task=attempt.task_id, kind=ArtifactKind.CHECKPOINT).select_related("file")
    current = {row.folded: row for row in rows.filter(is_current=True)}
    fresh = {row.folded: row for row in rows.filter(is_current=False, attempt=attempt) if row.file.is_whole}
    stays, comes = set(), []
    for item in listed:
        folded = names.folded(item.name)
        if _is(current.get(folded), item):
            stays.add(folded)
        elif _is(fresh.get(folded), item):
            comes.append(fresh[folded])
        else:
            raise ArtifactsIncomplete(f"{item.name} is not here whole: send it first.", attr="files")
    goes = [row for folded, row in current.items() if folded not in stays]
    Artifact.objects.filter(pk__in=[row.pk for row in goes]).delete()
    Artifact.objects.filter(pk__in=[row.pk for row in comes]).update(is_current=True, updated_at=now)
    for row in goes:
        files.remove(row.file, now=now)
    return len(stays) + len(comes)


def _is(row: Artifact | None, item: Named) -> bool:
    return row is not None and (row.name, row.file.sha256) == (item.name, item.sha256)


def file_for(*, attempt_id: UUID, host: Host, epoch: int, file_id: UUID) -> StoredFile | None:
    """Give a file that this open attempt is to have: an input of its task, or a part of its checkpoint; else None.

    Raises LeaseLost.
    """
    attempt = Attempt.objects.open().filter(pk=attempt_id, host=host, epoch=epoch).select_related("task").first()
    if attempt is None:
        raise _lost()
    given = any(entry["file"] == str(file_id) for entry in attempt.task.inputs)
    if not given and not Artifact.objects.checkpoint().filter(task=attempt.task_id, file=file_id).exists():
        return None
    return StoredFile.objects.filter(pk=file_id, status=FileStatus.WHOLE).first()


def checkpoints_of(tasks: Iterable[Task]) -> dict[UUID, list[dict[str, Any]]]:
    """Give each task's checkpoint as an assignment names its files; one query for all."""
    found: dict[UUID, list[dict[str, Any]]] = {}
    rows = Artifact.objects.checkpoint().filter(task__in=[task.pk for task in tasks]).order_by("name")
    for task_id, id_, name, size, sha256 in rows.values_list(
        "task_id", "file_id", "name", "file__size", "file__sha256"
    ):
        found.setdefault(task_id, []).append({"id": str(id_), "path": name, "size": size, "sha256": sha256})
    return found


def sweep_checkpoints(*, now: datetime) -> None:
    """Remove the checkpoints of tasks that ended a while ago.

    One that cannot be removed is tried again after the others, however many there are.
    """
    before = now - timedelta(seconds=settings.CHECKPOINT_KEEP_SECONDS)
    old = Artifact.objects.filter(is_current=True, task__status__in=TERMINAL, task__finished_at__lt=before)
    for row in old.select_related("file").order_by("updated_at")[: files.BATCH]:
        try:
            with transaction.atomic():
                Artifact.objects.filter(pk=row.pk).delete()
                files.remove(row.file, now=now)
        except Exception:
            log.exception("the checkpoint %s is old and cannot be removed", row.pk)
            Artifact.objects.filter(pk=row.pk).update(updated_at=now)
