"""Is this process alive, and is what it needs there."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

import dramatiq
import structlog
from django.conf import settings
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from gaas.lib import clock

Check = Callable[[], "str | None"]

CHECK_SECONDS = 2.0
KEEP_SECONDS = 1.0
IDLE_SECONDS = 60.0

log = structlog.stdlib.get_logger("app")


@never_cache
@require_safe
def livez(request: HttpRequest) -> JsonResponse:
    """Answer that the process serves requests; nothing else is asked, so that a database that is away
    does not get every server restarted."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 when every peer answers, else 503 naming those that do not, and why only in the log."""
    checks = _readiness()
    ready = all(state == "ok" for state in checks.values())
    return JsonResponse({"status": "ok" if ready else "unavailable", "checks": checks}, status=200 if ready else 503)


def register(name: str, check: Check) -> None:
    """Add a check by name; it gives None, or one public sentence about what is wrong."""
    _checks[name] = check


def check_database() -> None:
    """Ask the database for one."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    finally:
        # The thread of this check ends now; its connection would stay open.
        connection.close()


def check_broker() -> None:
    """Greet the broker; one in memory is always there."""
    broker = dramatiq.get_broker()
    if hasattr(broker, "client"):
        broker.client.ping()
    elif hasattr(broker, "parameters"):
        import pika

        pika.BlockingConnection(broker.parameters).close()


def check_cache() -> str | None:
    """Write a value and read it back."""
    value = secrets.token_hex(8)
    key = f"readyz:{value}"
    cache.set(key, value, 10)
    found = cache.get(key)
    cache.delete(key)
    return None if found == value else "does not keep what is written"


def check_storage() -> str | None:
    """Write an object where files are kept, read it back and remove it."""
    value = secrets.token_bytes(8)
    key = default_storage.save(f"readyz/{secrets.token_hex(16)}", ContentFile(value))
    try:
        with default_storage.open(key) as file:
            found = file.read()
    finally:
        default_storage.delete(key)
    return None if found == value else "does not keep what is written"


def check_scheduler() -> str | None:
    """Say when the last pass or sweep is long ago. One that never began is no fault of this process."""
    from tasks.models import Scheduler  # models are not ready when middleware loads this module

    try:
        moments = Scheduler.objects.values_list("last_pass_at", "last_sweep_at").filter(pk=1).first() or ()
        known = [moment for moment in moments if moment is not None]
        if not known:
            return None
        age = (clock.now() - max(known)).total_seconds()
    finally:
        connection.close()
    return f"no pass for {age:.0f} seconds" if age > max(IDLE_SECONDS, 12 * settings.SWEEP_SECONDS) else None


_checks: dict[str, Check] = {
    "database": check_database,
    "broker": check_broker,
    "cache": check_cache,
    "storage": check_storage,
    "scheduler": check_scheduler,
}
_lock = threading.Lock()
_kept: tuple[float, dict[str, str]] = (-KEEP_SECONDS, {})


def _readiness() -> dict[str, str]:
    """Run all checks side by side, at most once a second however many ask."""
    global _kept
    with _lock:
        if time.monotonic() - _kept[0] >= KEEP_SECONDS:
            _kept = (time.monotonic(), _run_all())
        return _kept[1]


def _run_all() -> dict[str, str]:
    answers: SimpleQueue[tuple[str, str]] = SimpleQueue()
    states = dict.fromkeys(_checks, "does not answer in time")
    for name, check in _checks.items():
        # Daemons: one that hangs in a socket must not keep the process from stopping.
        threading.Thread(target=_run, args=(name, check, answers), name=f"readyz-{name}", daemon=True).start()
    deadline = time.monotonic() + CHECK_SECONDS
    for _ in states:
        try:
            name, state = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        states[name] = state
    return states


def _run(name: str, check: Check, answers: SimpleQueue[tuple[str, str]]) -> None:
    problem: Any
    try:
        problem = check()
    except Exception as error:
        log.warning("not_ready", check=name, error=repr(error)[:500])
        problem = "does not answer"
    answers.put((name, problem or "ok"))
