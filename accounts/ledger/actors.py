"""Messages of the ledger: what is done to the books by the clock."""

from __future__ import annotations

import logging

import dramatiq

from accounts.ledger import check
from accounts.ledger.services import take_snapshot

log = logging.getLogger("error")


@dramatiq.actor(queue_name="sweep", max_retries=0, time_limit=3_600_000)
def keep_books(**_: object) -> None:
    """Seal the transfers so far and check every invariant; a broken one is an error in the log."""
    take_snapshot()
    for result in check.run():
        for problem in result.problems:
            log.error("the books are wrong: invariant %s, %s", result.number, problem)
