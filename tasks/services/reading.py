"""Who reads the bytes that an account keeps: the one rule for uploads, results, inputs and logs.

Bytes are for the members of their account, in whatever role. That somebody of staff sees an upload or a task lets them
see that there are files, and how large. The bytes of files take the permission `tasks.read_storedfile`, which no group
of staff has by itself; the log of a task goes with seeing the task, since it is what says why something went wrong.
Whatever staff reads of a tenant's is noted. Checkpoints are handed to agents alone.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from accounts.models import Account
from gaas.audit.models import AuditEvent
from gaas.audit.services import record
from gaas.lib.errors import NotAllowed
from tasks.models import Artifact, Task, Upload

if TYPE_CHECKING:
    from accounts.models import User

AGAIN = timedelta(days=1)
SEE_ALL = ("tasks.view_task", "tasks.approve_task", "tasks.operate_task")


def read_bytes_of(row: Upload | Artifact | Task, *, account: Account, by: User, now: datetime) -> None:
    """Let somebody read an upload, a result or all results of a task, and note it of staff. Raises NotAllowed."""
    if account.role_of(by) is not None:
        return
    if not by.has_perm("tasks.read_storedfile"):
        raise NotAllowed("You see that there are files; their bytes are for the members of their account.")
    _note("file.read", row, by, now)


def read_log_of(task: Task, *, by: User, now: datetime) -> None:
    """Note that somebody of staff, who sees a task by that alone, reads its log."""
    if any(by.has_perm(may) for may in SEE_ALL) and task.account.role_of(by) is None:
        _note("log.read", task, by, now)


def _note(action: str, row: Upload | Artifact | Task, by: User, now: datetime) -> None:
    """Write it down once a day: a log is asked for every second, and a large file in many ranges."""
    noted = AuditEvent.objects.filter(object_id=str(row.pk), action=action, actor=by, at__gt=now - AGAIN)
    if not noted.exists():
        record(action=action, obj=row, by=by, now=now)
