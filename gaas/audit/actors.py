"""Messages of the audit trail: what is done to it by the clock."""

from __future__ import annotations

import logging

import dramatiq

from gaas.audit import services

log = logging.getLogger("error")


@dramatiq.actor(queue_name="sweep", max_retries=0, time_limit=600_000)
def chain_events(**_: object) -> None:
    """Give every event that came since the last time its place in the chain."""
    while services.chain_events():
        pass


@dramatiq.actor(queue_name="sweep", max_retries=0, time_limit=3_600_000)
def check_chain(**_: object) -> None:
    """Follow the whole chain; a break is an error in the log, and the end of a sound one stands there too."""
    checked = services.check()
    for problem in checked.problems:
        log.error("the audit trail is broken: %s", problem)
    logging.getLogger("app").info("the audit trail holds up to %s", checked.end)
