"""Requests to what a task serves: who may send them, and which process holds the way to its host."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from accounts.choices import Role
from gaas.lib.errors import Conflict, NotAllowed
from gaas.lib.retry import retried
from gpus.choices import SPEAKING
from gpus.models import Host
from tasks.choices import AttemptStatus
from tasks.models import Attempt, Relay, Task


class NotServing(Conflict):
    """State that nothing of this task answers requests now."""

    code = "not_serving"


def serving_attempt(task: Task, *, by: Any) -> Attempt:
    """Give the running attempt that serves. Raises NotAllowed for who only looks on, NotServing."""
    is_member = (task.account.role_of(by) or Role.VIEWER) >= Role.MEMBER
    if not (is_member or by.has_perm("tasks.operate_task")):
        raise NotAllowed("Members of the account may use what its tasks serve; you may only look on.")
    running = task.attempts.filter(status=AttemptStatus.RUNNING, host__status__in=SPEAKING)
    attempt = running.first() if "serve" in task.spec else None
    if attempt is None:
        raise NotServing("This task serves nothing now: it needs `serve` in its spec, and has to run.")
    return attempt


@retried
def take_relay(*, attempt_id: UUID, epoch: int, host_id: UUID, connection: UUID, url: str, now: datetime) -> bool:
    """Note where the host's connection for an attempt is; False when the attempt is not its to serve (any more)."""
    mine = Attempt.objects.filter(pk=attempt_id, epoch=epoch, host_id=host_id, status=AttemptStatus.RUNNING)
    # A ticket outlives its host's revocation by minutes.
    if not mine.select_for_update(no_key=True).exists() or not Host.objects.speaking().filter(pk=host_id).exists():
        return False
    here = {"connection": connection, "url": url, "updated_at": now}
    Relay.objects.update_or_create(attempt_id=attempt_id, defaults=here)
    return True


def drop_relay(*, connection: UUID) -> None:
    """Forget a connection that was closed, unless a newer one took its place."""
    Relay.objects.filter(connection=connection).delete()


def find_relay(attempt_id: UUID) -> str | None:
    """Give the address of the process that holds an attempt's connection."""
    running = Relay.objects.filter(attempt_id=attempt_id, attempt__status=AttemptStatus.RUNNING)
    return running.values_list("url", flat=True).first()
