"""Files that people send to be used by tasks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import IO, TYPE_CHECKING

from django.conf import settings

from accounts.choices import Role
from accounts.models import Account
from gaas.lib.errors import DomainError, NotAllowed
from gaas.lib.retry import retried
from gpus.agent import names
from tasks.choices import FileStatus
from tasks.models import Upload
from tasks.services import files
from tasks.services.plan import may_spend

if TYPE_CHECKING:
    from accounts.models import User


class BadName(DomainError):
    """State why a name of a file is not taken."""

    code = "bad_name"


class TooManyFiles(DomainError):
    """State that no more files are taken."""

    code = "too_many_files"
    depends_on_state = True


def check_name(name: str, attr: str) -> None:
    """Raise BadName unless a name is a safe relative path everywhere."""
    if (why := names.problem(name)) is not None:
        raise BadName(f"This name is not taken: {why}. Use plain relative names such as data/train.csv.", attr=attr)


def create_upload(
    *, name: str, size: int, sha256: str = "", account: Account | None = None, by: User, now: datetime
) -> Upload:
    """Begin an upload; its whole size counts on the account from now on.

    Raises NotAllowed and NotFound as a submit does, BadName, FileTooLarge, StorageFull, TooManyFiles.
    """
    check_name(name, "name")
    account = may_spend(account, by)
    return _create(account, name, size, sha256, by, now)


@retried
def _create(account: Account, name: str, size: int, sha256: str, by: User, now: datetime) -> Upload:
    file = files.open_file(account=account, size=size, sha256=sha256, now=now)
    # Counted behind the lock that the account's storage is under by now, or many at once would all find room.
    if Upload.objects.filter(account=account).here()[: settings.MAX_UPLOADS].count() >= settings.MAX_UPLOADS:
        raise TooManyFiles(
            f"The account has {settings.MAX_UPLOADS} uploads. Delete some, or pack many small files into one.",
            attr="account",
        )
    return Upload.objects.create(account=account, uploaded_by=by, name=name, file=file)


def send_upload(upload: Upload, *, offset: int, stream: IO[bytes], length: int, by: User) -> int:
    """Add bytes at an offset and give how many are here. Raises what `files.append` raises, and NotAllowed."""
    _check_may_change(upload, by)
    if upload.file.is_whole:
        if offset > upload.file.size:
            raise files.FileGap(upload.file.size)
        return upload.file.size
    files.append(upload.file, offset=offset, stream=stream, length=length)
    return upload.file.received


def digest_upload(upload: Upload, *, by: User, still: Callable[[], None]) -> str:
    """Count the digest that `complete_upload` wants, ahead of a transaction; "" where it wants none. Raises NotAllowed.

    Once all its bytes are here nothing adds to them, so that what was counted stays true.
    """
    _check_may_change(upload, by)
    file = upload.file
    if file.status != FileStatus.OPEN or file.received < file.size:
        return ""
    return files.digest_of(file, still=still)


def complete_upload(upload: Upload, *, sha256: str, digest: str | None = None, by: User, now: datetime) -> None:
    """Make an upload whole, so that tasks may use it. Raises FileIncomplete, WrongHash and NotAllowed.

    `digest` is what `digest_upload` gave, and None where no transaction is open and it may be counted here.
    """
    _check_may_change(upload, by)
    file = upload.file
    if digest == "" and file.status == FileStatus.OPEN and file.received == file.size:
        raise files.FileIncomplete("The last bytes came after this was asked. Ask again, with a new key.", attr="size")
    files.complete(file, sha256=sha256, digest=digest or "", keep_seconds=settings.UPLOAD_KEEP_SECONDS, now=now)


def delete_upload(upload: Upload, *, by: User, now: datetime) -> None:
    """Remove an upload and give its room back. Raises FileInUse while a live task needs it."""
    if not by.has_perm("tasks.delete_upload"):
        _check_may_change(upload, by)
    files.remove(upload.file, now=now)


def _check_may_change(upload: Upload, by: User) -> None:
    role = upload.account.role_of(by)
    is_own = upload.uploaded_by_id == by.pk and role is not None and role >= Role.MEMBER
    if not is_own and (role is None or role < Role.MANAGER):
        raise NotAllowed("Only who began an upload, or a manager of its account, changes it.")
