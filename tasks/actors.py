"""Messages of this app: each carries ids only, may come twice or never, and makes one call."""

from __future__ import annotations

from uuid import UUID

import dramatiq

from gaas.lib import clock
from tasks import services
from tasks.services.letters import ask_by_mail


@dramatiq.actor(queue_name="dispatch", max_retries=3, min_backoff=200, time_limit=60_000)
def schedule(**_: object) -> None:
    """Run the matcher until every wake is served."""
    services.schedule()


@dramatiq.actor(queue_name="sweep", max_retries=0, time_limit=60_000, max_age=30_000)
def sweep(**_: object) -> None:
    """Do what rows say is due; the next tick repeats what this one did not reach."""
    services.sweep(now=clock.now())


@dramatiq.actor(queue_name="sweep", max_retries=0, time_limit=60_000, max_age=30_000)
def prolong(*, task_id: str, **_: object) -> None:
    """Hold the next hour for a task that goes on; the sweep repeats what this one did not do."""
    services.prolong(task_id=UUID(task_id), now=clock.now())


@dramatiq.actor(queue_name="sweep", max_retries=0, time_limit=300_000, max_age=30_000)
def archive_logs(**_: object) -> None:
    """Pack logs that are due and remove those whose time is over."""
    services.archive_logs(now=clock.now())


@dramatiq.actor(queue_name="mail", max_retries=0, time_limit=60_000, max_age=30_000)
def ask_for_approvals(**_: object) -> None:
    """Write to whoever decides the steps whose turn has come."""
    ask_by_mail(now=clock.now())
