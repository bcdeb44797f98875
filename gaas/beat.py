"""What happens by the clock. Each job sends one message; the rows say what is due."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace

from django.conf import settings
from django.db import close_old_connections
from django.db.models import Q

from gaas.lib import clock
from gaas.models import Tick

log = logging.getLogger("app")


@dataclass(frozen=True)
class Job:
    """Send `send()` every `seconds`."""

    name: str
    seconds: float
    send: Callable[[], object]


def jobs() -> list[Job]:
    from accounts.actors import forget_log_ins, watch_budgets, watch_webhooks
    from accounts.ledger.actors import keep_books
    from gaas.audit.actors import chain_events, check_chain
    from gaas.outbox.actors import forget_keys, send_due, send_webhooks, sweep_webhooks
    from gpus.actors import score_hosts, tend_fleet
    from payments.actors import make_statements, mature_earnings, sweep_payments, tick_contracts
    from tasks.actors import archive_logs, ask_for_approvals, sweep

    return [
        Job("tasks.sweep", settings.SWEEP_SECONDS, sweep.send),
        Job("payments.sweep", 10, sweep_payments.send),
        Job("payments.mature", 300, mature_earnings.send),
        Job("payments.tick_contracts", 30, tick_contracts.send),
        Job("payments.statements", 600, make_statements.send),
        Job("tasks.archive_logs", 30, archive_logs.send),
        Job("tasks.ask_for_approvals", 15, ask_for_approvals.send),
        Job("gpus.tend_fleet", 60, tend_fleet.send),
        Job("gpus.score_hosts", 3600, score_hosts.send),
        Job("outbox.send_due", 30, send_due.send),
        Job("outbox.forget_keys", 3600, forget_keys.send),
        Job("outbox.send_webhooks", settings.SWEEP_SECONDS, send_webhooks.send),
        Job("outbox.sweep_webhooks", 60, sweep_webhooks.send),
        Job("ledger.keep_books", 86_400, keep_books.send),
        Job("audit.chain_events", 60, chain_events.send),
        Job("audit.check_chain", 86_400, check_chain.send),
        Job("accounts.forget_log_ins", 3600, forget_log_ins.send),
        Job("accounts.watch_budgets", 60, watch_budgets.send),
        Job("accounts.watch_webhooks", 60, watch_webhooks.send),
    ]


def claim(job: Job) -> bool:
    """Take this moment's slot of a job; one of many beats gets it.

    A slot further ahead than the next is left from a clock that was wrong: it is taken back, or the job would
    rest until then.
    """
    slot = int(clock.now().timestamp() / job.seconds)
    Tick.objects.get_or_create(job=job.name)
    mine = Tick.objects.filter(Q(slot__lt=slot) | Q(slot__gt=slot + 1), job=job.name)
    return bool(mine.update(slot=slot))


def fire(job: Job) -> None:
    """Send a job's message if nobody else did for this slot; a failure is logged and the next slot tries again."""
    close_old_connections()
    try:
        if claim(job):
            job.send()
    except Exception:
        log.exception("periodic job failed", extra={"job": job.name})
    finally:
        close_old_connections()


class Beat:
    """Fire each job every so many seconds, one after the other; what is late fires once, not once for each miss.

    It goes by the monotonic clock: on a machine whose wall clock is set back an hour the sweep must not rest for one.
    """

    def __init__(self, every: Sequence[Job] | None = None, *, fire: Callable[[Job], object] = fire) -> None:
        now = time.monotonic()
        self._fire = fire
        self._due = [(now + job.seconds, number, job) for number, job in enumerate(jobs() if every is None else every)]
        heapify(self._due)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Go on until `stop`."""
        while not self._stopping.wait(max(0.0, self._due[0][0] - time.monotonic())):
            _, number, job = self._due[0]
            self._fire(job)
            heapreplace(self._due, (time.monotonic() + job.seconds, number, job))

    def start(self) -> None:
        """Run in a thread of its own."""
        threading.Thread(target=self.run, name="beat", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()
