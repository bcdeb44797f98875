"""Messages of this app: each carries ids only, may come twice or never, and makes one call."""

from __future__ import annotations

from uuid import UUID

import dramatiq

from gaas.lib import clock
from payments import services
from payments.services.statements import make_due


@dramatiq.actor(queue_name="sweep", max_retries=0, time_limit=120_000, max_age=30_000)
def sweep_payments(**_: object) -> None:
    """Do what rows of payments say is due; the next tick repeats what this one did not reach."""
    services.sweep(now=clock.now())


@dramatiq.actor(queue_name="sweep", max_retries=0, time_limit=240_000, max_age=240_000)
def mature_earnings(**_: object) -> None:
    """Let earnings mature that are old enough."""
    services.mature_all(now=clock.now())


@dramatiq.actor(queue_name="sweep", max_retries=0, time_limit=120_000)
def look_into_event(*, event_id: str, **_: object) -> None:
    """Do what a provider's event is about; the sweep repeats what did not come through."""
    services.process_event(event_id=UUID(event_id), now=clock.now())


@dramatiq.actor(queue_name="sweep", max_retries=0, time_limit=120_000, max_age=60_000)
def tick_contracts(**_: object) -> None:
    """Take the steps that contracts are due; the next tick goes on where this one stopped."""
    services.tick_all(now=clock.now())


@dramatiq.actor(queue_name="sweep", max_retries=0, time_limit=120_000)
def send_payout(*, payout_id: str, **_: object) -> None:
    """Send a payout that was agreed to, or see how it stands; the sweep repeats what did not come through."""
    services.send_payout(payout_id=UUID(payout_id), now=clock.now())


@dramatiq.actor(queue_name="sweep", max_retries=0, time_limit=1_200_000, max_age=3_600_000)
def make_statements(**_: object) -> None:
    """Make the statements of months that have ended; whoever is killed at it is followed by who makes the rest."""
    make_due()
