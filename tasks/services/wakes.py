"""Ask for a pass of the matcher."""

from __future__ import annotations

import logging
from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models import F

from tasks.models import Scheduler

log = logging.getLogger("app")


def schedule_soon() -> None:
    """Ask for a pass once the caller's transaction commits.

    The counter is raised after the commit, not inside it: within, every submit and approve of the house would
    queue for one row. A process that dies between leaves an APPROVED row, which the next sweep finds.
    """
    transaction.on_commit(_ask, robust=True)


def prolong_soon(task_id: UUID) -> None:
    """Ask for a task that goes on to be prolonged; the sweep finds it where this is lost."""
    transaction.on_commit(partial(_ask_to_prolong, task_id), robust=True)


def _ask_to_prolong(task_id: UUID) -> None:
    from tasks.actors import prolong

    prolong.send(task_id=str(task_id))


def _ask() -> None:
    # Services are below actors; the message is only a hint, so its sender is looked up when it is needed.
    from tasks.actors import schedule

    Scheduler.objects.filter(pk=1).update(requested=F("requested") + 1)
    schedule.send()
