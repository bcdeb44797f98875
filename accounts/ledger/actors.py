"""Messages of the ledger: what is done to the books by the clock, and what a person asks for."""

from __future__ import annotations

import logging

import dramatiq

from accounts.ledger.choices import CheckSource
from accounts.ledger.services import take_snapshot
from accounts.ledger.services.check_runs import CheckUnderWay, begin_check, run_check
from gaas.lib import clock

log = logging.getLogger("app")


@dramatiq.actor(queue_name="sweep", max_retries=0, time_limit=3_600_000)
def keep_books(**_: object) -> None:
    """Seal the transfers so far and check every invariant."""
    take_snapshot()
    try:
        run = begin_check(source=CheckSource.BEAT, now=clock.now())
    except CheckUnderWay:
        log.info("the books are being checked already")
        return
    run_check(run_id=run.pk, now=clock.now())


@dramatiq.actor(queue_name="sweep", max_retries=0, time_limit=3_600_000)
def check_books(*, run_id: str, **_: object) -> None:
    """Do a check that somebody asked for."""
    run_check(run_id=run_id, now=clock.now())
