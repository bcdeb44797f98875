"""Which files a task is given: found for who asks, named for the program, kept while the task lives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db.models.functions import Greatest

from accounts.models import Account
from gaas.lib.errors import DomainError
from gpus.agent import names
from tasks.choices import FileStatus
from tasks.draft import InputWanted
from tasks.models import Artifact, FileUse, StoredFile, Task, Upload

if TYPE_CHECKING:
    from accounts.models import User

MAX_INPUTS = 100
# In $GAAS_INPUT the program itself has this name where it is a script.
RESERVED = frozenset({"script"})


class BadInput(DomainError):
    """Refuse a file that a task asks for, naming which."""

    code = "invalid"


def find_inputs(wanted: Sequence[InputWanted], *, by: User) -> list[dict[str, Any]]:
    """Give what a task stores of each file: path, size, sha256, the file's id and whence it came.

    An upload or a task that the caller does not see is refused like one that is not there. Two queries however many.
    """
    if not wanted:
        return []
    if len(wanted) > MAX_INPUTS:
        raise BadInput(f"A task takes at most {MAX_INPUTS} files. Pack them.", code="too_many_files", attr="inputs")
    uploads = _uploads(wanted, by)
    artifacts = _artifacts(wanted, by)
    kept = _kept(wanted)
    found: list[dict[str, Any]] = []
    taken: set[str] = set()
    for index, item in enumerate(wanted):
        attr = f"inputs.{index}"
        if item.upload is not None:
            entry = _of_upload(uploads.get(item.upload), item, attr)
        elif item.task is not None:
            entry = _of_artifact(artifacts.get((item.task, item.artifact)), item, attr)
        else:
            entry = _again(item, kept, attr)
        path = entry["path"]
        if (why := names.problem(path)) is not None:
            raise BadInput(f"This path is not taken: {why}.", code="bad_name", attr=f"{attr}.as")
        if path.split("/")[0].casefold() in RESERVED:
            raise BadInput("This name is the platform's in $GAAS_INPUT.", code="reserved", attr=f"{attr}.as")
        if names.clash(path, taken):
            raise BadInput("Two files would have this path; give another.", code="bad_name", attr=f"{attr}.as")
        taken.add(names.folded(path))
        found.append(entry)
    return found


def _uploads(wanted: Iterable[InputWanted], by: User) -> dict[UUID, Upload]:
    ids = {item.upload for item in wanted if item.upload is not None}
    if not ids:
        return {}
    mine = Upload.objects.here().filter(account__in=Account.objects.of_member(by))
    return {row.pk: row for row in mine.filter(pk__in=ids).select_related("file")}


def _artifacts(wanted: Iterable[InputWanted], by: User) -> dict[tuple[UUID, str], Artifact]:
    """Give each by task and name, of the last attempt that has it."""
    tasks = {item.task for item in wanted if item.task is not None}
    if not tasks:
        return {}
    rows = (
        Artifact.objects.kept()
        .filter(task__in=tasks, task__account__in=Account.objects.of_member(by), name__in={i.artifact for i in wanted})
        .select_related("file")
        .order_by("attempt__epoch")
    )
    return {(row.task_id, row.name): row for row in rows}


def _kept(wanted: Iterable[InputWanted]) -> set[str]:
    ids = {item.again["file"] for item in wanted if item.again is not None}
    if not ids:
        return set()
    rows = StoredFile.objects.filter(pk__in=ids, status=FileStatus.WHOLE)
    return {str(pk) for pk in rows.values_list("pk", flat=True)}


def _of_upload(upload: Upload | None, item: InputWanted, attr: str) -> dict[str, Any]:
    if upload is None:
        raise BadInput("There is no such upload.", code="does_not_exist", attr=f"{attr}.upload")
    if not upload.file.is_whole:
        raise BadInput(
            "This upload is not whole: send the rest and complete it.", code="file_incomplete", attr=f"{attr}.upload"
        )
    return {**_entry(upload.file, item.path or upload.name), "upload": str(upload.pk)}


def _of_artifact(artifact: Artifact | None, item: InputWanted, attr: str) -> dict[str, Any]:
    if artifact is None:
        raise BadInput("There is no such result of such a task.", code="does_not_exist", attr=f"{attr}.artifact")
    entry = _entry(artifact.file, item.path or artifact.name)
    return {**entry, "task": str(artifact.task_id), "artifact": artifact.name}


def _again(item: InputWanted, kept: set[str], attr: str) -> dict[str, Any]:
    entry = dict(item.again or {})
    if entry["file"] not in kept:
        raise BadInput(
            f"{entry['path']} is not kept any more: submit a new task with another file.",
            code="does_not_exist",
            attr=attr,
        )
    return entry


def _entry(file: StoredFile, path: str) -> dict[str, Any]:
    return {"path": path, "size": file.size, "sha256": file.sha256, "file": str(file.pk)}


def hold_inputs(task: Task, *, now: datetime) -> None:
    """Bind the files of a task that is being stored, so that none is removed while it lives.

    In the submit's transaction; raises BadInput for one that was removed since it was found. Locks: files by id.
    """
    ids = sorted({UUID(entry["file"]) for entry in task.inputs})
    if not ids:
        return
    files = StoredFile.objects.filter(pk__in=ids, status=FileStatus.WHOLE)
    locked = list(files.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True))
    if len(locked) < len(ids):
        raise BadInput("A file was removed a moment ago: look at what there is.", code="does_not_exist", attr="inputs")
    FileUse.objects.bulk_create(FileUse(task=task, file_id=id_) for id_ in ids)
    later = now + timedelta(seconds=settings.UPLOAD_KEEP_SECONDS)
    StoredFile.objects.filter(pk__in=ids).update(due_at=Greatest("due_at", later))
