"""Messages of this app: each may come twice or never, and makes its calls."""

from __future__ import annotations

import dramatiq

from gaas.lib import clock
from gpus import services


@dramatiq.actor(queue_name="sweep", max_retries=0, time_limit=60_000, max_age=30_000)
def tend_fleet(**_: object) -> None:
    """Do each minute what time itself asks for: count, open and close, make old samples coarse."""
    services.tend_fleet(now=clock.now())


@dramatiq.actor(queue_name="sweep", max_retries=0, time_limit=60_000, max_age=300_000)
def score_hosts(**_: object) -> None:
    """Write each hour how reliable every host is."""
    services.score_hosts(now=clock.now())
