"""Keep who guesses passwords out: counted by account and address together, and by address alone.

django-axes counts. Whoever is locked out is told so before any password is hashed, whichever way the
log-in came: page, token, admin, a password asked for again. An account is never locked for everybody, since
then anybody could lock anybody out.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.handlers.proxy import AxesProxyHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.signals import user_login_failed
from django.db import models, transaction
from django.http import HttpRequest

from gaas.audit.services import record
from gaas.lib import clock
from gaas.lib.emails import normal_email
from gaas.lib.errors import DomainError
from gaas.lib.rest.address import address_group, client_address


class LockedOut(DomainError):
    """Refuse to look at a password after too many wrong ones."""

    status = 429
    code = "locked_out"


class Handler(AxesDatabaseHandler):  # type: ignore[misc]  # which has no types
    """Count for django-axes, which knows one limit where here are two."""

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """Give the failures of account and address; those of the address weigh by how much higher its limit is."""
        of_both, of_address = (
            attempts.aggregate(total=models.Sum("failures_since_start"))["total"] or 0
            for attempts in self.get_user_attempts(request, credentials)
        )
        weighed = of_address * settings.LOG_IN_FAILURES // settings.LOG_IN_FAILURES_OF_ADDRESS
        return max(of_both, weighed)

    def reset_user_attempts(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """Forget what was counted for account and address; a log-in of one's own forgives no guesses at others."""
        return self.filter_user_attempts(request, credentials)[0].delete()[0]

    def clean_expired_user_attempts(self, request: Any = None, credentials: Any = None) -> int:
        """Leave that to the periodic job: a DELETE over the table at every log-in is a lock for all of them."""
        return 0


def check(*, email: str, request: HttpRequest) -> None:
    """Raise LockedOut, which says when to come back, if this account is locked for this address."""
    credentials = {"username": email}
    if AxesProxyHandler.is_allowed(request, credentials):
        return
    attempts = AxesProxyHandler.get_implementation().get_user_attempts(request, credentials)
    last = max((attempt.attempt_time for found in attempts for attempt in found), default=clock.now())
    left = (last + cool_off() - clock.now()).total_seconds()
    raise LockedOut(
        "Too many wrong log-ins. Wait, or choose a new password by mail.",
        headers={"Retry-After": str(max(1, math.ceil(left)))},
    )


def count_failure(*, email: str, request: HttpRequest) -> None:
    """Count a wrong second factor as what it is: a wrong log-in."""
    user_login_failed.send(sender=__name__, credentials={"username": email}, request=request)


def forgive(*, email: str, request: HttpRequest) -> None:
    """Forget the wrong log-ins to this account from this address, after a right one."""
    AxesProxyHandler.update_request(request)
    AxesProxyHandler.get_implementation().reset_user_attempts(request, {"username": email})


def forgive_everywhere(*, email: str) -> None:
    """Forget the wrong log-ins to an account, once its owner is proven another way."""
    AccessAttempt.objects.filter(username=normal_email(email)).delete()


def unlock(*, attempt: AccessAttempt, by: Any, now: datetime) -> None:
    """Let somebody in again: forget what was counted for this account and address."""
    with transaction.atomic():
        AccessAttempt.objects.filter(username=attempt.username, ip_address=attempt.ip_address).delete()
        record(
            action="log_in.unlock",
            obj=attempt,
            by=by,
            before={"account": attempt.username, "failures": attempt.failures_since_start},
            now=now,
        )


def forget_old_failures(*, now: datetime) -> int:
    """Remove counts that lock nobody any more; return how many."""
    return AccessAttempt.objects.filter(attempt_time__lt=now - cool_off()).delete()[0]


def limit(request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
    """Give how many wrong log-ins to an account an address has."""
    return int(settings.LOG_IN_FAILURES)


def cool_off(request: HttpRequest | None = None) -> timedelta:
    """Give how long a lock lasts."""
    return timedelta(seconds=settings.LOCK_SECONDS)


def name_of(request: HttpRequest, credentials: dict[str, Any] | None = None) -> str:
    """Give the one spelling under which an account's failures are counted; a column of 255 holds it."""
    given = credentials or {}
    return normal_email(str(given.get("username") or given.get("email") or ""))[:255]


def address_of(request: HttpRequest) -> str | None:
    """Give the address that failures are counted under, as TRUSTED_PROXIES tells; an IPv6 network by its first."""
    return address_group(client_address(request.META)).partition("/")[0] or None
