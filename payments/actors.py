"""Messages of this app: each carries ids only, may come twice or never, and makes one call."""

from __future__ import annotations

from uuid import UUID

import dramatiq

from gaas.lib import clock
from payments import services


@dramatiq.actor(queue_name="sweep", max_retries=0, time_limit=120_000, max_age=30_000)
def sweep_payments(**_: object) -> None:
    """Do what rows of payments say is due; the next tick repeats what this one did not reach."""
    services.sweep(now=clock.now())


@dramatiq.actor(queue_name="sweep", max_retries=0, time_limit=120_000)
def look_into_event(*, event_id: str, **_: object) -> None:
    """Do what a provider's event is about; the sweep repeats what did not come through."""
    services.process_event(event_id=UUID(event_id), now=clock.now())
