"""Have the books checked, and keep what was found.

Not among the names of accounts.ledger.services: the checks that it runs import those.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

from django.db import connection
from django.db.models.functions import Now

from accounts.ledger import check
from accounts.ledger.choices import CheckSource, CheckStatus
from accounts.ledger.models import CheckRun
from gaas.lib import clock
from gaas.lib.errors import Conflict
from gaas.lib.retry import retried

log = logging.getLogger("error")

TOLD_EVERY = 1.0
# Of one invariant; what broke a hundred times is not understood better by the rest.
KEPT = 100

WhenBroken = Callable[[CheckRun, list[int]], object]
_when_broken: list[WhenBroken] = []


class CheckUnderWay(Conflict):
    """State that the books are being checked at this moment."""


def when_broken(tell: WhenBroken) -> WhenBroken:
    """Have a function called with a run and the numbers that it found broken and the run before it did not.

    It is part of the transaction that ends the run, and so once for each run.
    """
    _when_broken.append(tell)
    return tell


@retried
def begin_check(*, source: CheckSource, now: datetime, asked_by: str = "") -> CheckRun:
    """Note that the books are to be checked; `run_check` does it.

    Raises CheckUnderWay while another check runs. One that nobody has heard of for too long is noted as not finished.
    """
    running = CheckRun.objects.filter(status=CheckStatus.RUNNING).first()
    if running is not None:
        if not running.is_silent(now=now):
            raise CheckUnderWay("The books are being checked at this moment: wait for what it finds.")
        why = "Nothing was heard of it any more." if running.started_at else "No worker took it up."
        running.end(status=CheckStatus.FAILED, now=now, failure=why)
    return CheckRun.objects.create(source=source, asked_by=asked_by, of=len(check.titles()))


def run_check(*, run_id: UUID | str, now: datetime) -> list[check.Result]:
    """Check every invariant and store what was found; give nothing where somebody else does or did it.

    A problem is an error in the log too, and what broke anew is told to whoever asked by `when_broken`.
    """
    mine = CheckRun.objects.filter(pk=run_id, status=CheckStatus.RUNNING, started_at=None)
    if not mine.update(started_at=now, updated_at=now):
        return []
    run = CheckRun.objects.get(pk=run_id)
    try:
        with _told(run) as on_step:
            results = check.run(on_step=on_step)
    except BaseException as trouble:
        run.end(status=CheckStatus.FAILED, now=clock.now(), failure=f"{type(trouble).__name__}: {trouble}"[:500])
        raise
    for result in results:
        for problem in result.problems:
            log.error("the books are wrong: invariant %s, %s", result.number, problem)
    _store(run, results)
    return results


@retried
def _store(run: CheckRun, results: list[check.Result]) -> None:
    broken = [result.number for result in results if result.problems]
    before = CheckRun.objects.filter(status__in=(CheckStatus.CLEAN, CheckStatus.BROKEN)).first()
    known = {result["number"] for result in before.broken} if before is not None else set()
    is_mine = run.end(
        status=CheckStatus.BROKEN if broken else CheckStatus.CLEAN,
        now=clock.now(),
        done=len(results),
        results=[
            {
                "number": result.number,
                "title": result.title,
                "seconds": result.seconds,
                "problems": result.problems[:KEPT],
                "more": max(0, len(result.problems) - KEPT),
            }
            for result in results
        ],
    )
    fresh = [number for number in broken if number not in known]
    if is_mine and fresh:
        for tell in _when_broken:
            tell(run, fresh)


@contextmanager
def _told(run: CheckRun) -> Iterator[Callable[[int, str], None]]:
    """Write how far a run is, from a thread with a connection of its own: the check's reads see one moment.

    Inside somebody's transaction (tests) no other connection could see the row; it is written at each step then.
    """
    if connection.in_atomic_block:
        yield lambda done, title: _write(run.pk, done, title)
        return
    at = (0, "")
    over = threading.Event()

    def note(done: int, title: str) -> None:
        nonlocal at
        at = (done, title)

    def tell() -> None:
        try:
            while not over.wait(TOLD_EVERY):
                try:
                    _write(run.pk, *at)
                except Exception:  # a database away: the check itself will say so
                    logging.getLogger("app").warning("a check of the books could not tell how far it is", exc_info=True)
        finally:
            connection.close()

    thread = threading.Thread(target=tell, name="ledger-check", daemon=True)
    thread.start()
    try:
        yield note
    finally:
        over.set()
        thread.join()


def _write(run_id: UUID, done: int, title: str) -> None:
    rows = CheckRun.objects.filter(pk=run_id, status=CheckStatus.RUNNING)
    rows.update(done=done, doing=title[:200], updated_at=Now())
