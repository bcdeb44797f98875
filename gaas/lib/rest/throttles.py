"""Limits on how often: one counter a scope and caller, shared by all processes through the cache."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog
from django.core.cache import cache
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle

from gaas.lib.emails import LONGEST, normal_email
from gaas.lib.errors import DomainError
from gaas.lib.rest.address import address_group, client_address

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which imports this module for its defaults

_PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

# Where guesses are counted: without the count there are no answers.
FAIL_CLOSED = frozenset({"token", "token_address", "register", "reset"})


class CannotCount(DomainError):
    """Refuse what must be counted while the shared cache is away."""

    status = 503
    code = "cannot_count"

    def __init__(self) -> None:
        super().__init__(
            "Log-ins cannot be counted right now, so none is looked at. Try again in a moment.",
            headers={"Retry-After": "5"},
        )


class TooManyCalls(DomainError):
    """Refuse a call too many on a page, in the words of the API."""

    status = 429
    code = "throttled"


class WindowThrottle(BaseThrottle):
    """Count calls in a window that opens with the first of them.

    `cache.add` opens it and `cache.incr` counts, both atomic in Redis, Memcached and local memory: two
    processes cannot both be the tenth call. The rate of a scope stands in DEFAULT_THROTTLE_RATES.
    """

    scope = ""

    def identity(self, request: Request, view: APIView) -> str | None:
        """Name who is counted; None leaves the call uncounted."""
        return caller(request)

    def scope_of(self, view: APIView) -> str:
        return self.scope

    def allow_request(self, request: Request, view: APIView) -> bool:
        self._seconds_left: int | None = None
        scope = self.scope_of(view)
        rate = api_settings.DEFAULT_THROTTLE_RATES.get(scope) if scope else None
        identity = self.identity(request, view) if rate else None
        if not rate or identity is None:
            return True
        number, _, period = rate.partition("/")
        try:
            count, self._seconds_left = _count(scope, identity, _PERIODS[period[0]])
        except Exception as away:
            structlog.stdlib.get_logger("error").exception("throttle_cache_unreachable", scope=scope)
            if scope in FAIL_CLOSED:
                raise CannotCount from away
            # A cache that is away must not take the whole API with it.
            return True
        _note(request, int(number), max(0, int(number) - count), self._seconds_left)
        return count <= int(number)

    def wait(self) -> float | None:
        return self._seconds_left


class UserThrottle(WindowThrottle):
    """Count all ordinary calls of a user, or of an address without one."""

    scope = "user"


class ScopedThrottle(WindowThrottle):
    """Count calls in the scope that the view names in `throttle_scope`."""

    def scope_of(self, view: APIView) -> str:
        return getattr(view, "throttle_scope", None) or self.scope


class TokenThrottle(WindowThrottle):
    """Count log-ins to one account from one address, whatever the case its e-mail is written in."""

    scope = "token"

    def identity(self, request: Request, view: APIView) -> str | None:
        data = request.data
        email = data.get("email") if isinstance(data, Mapping) else None
        return f"{address_of(request)} {counted_name(email)}"


class TokenAddressThrottle(WindowThrottle):
    """Count log-ins from one address, to whichever accounts."""

    scope = "token_address"

    def identity(self, request: Request, view: APIView) -> str | None:
        return address_of(request)


def count_log_in(*, email: str, meta: Mapping[str, Any]) -> None:
    """Count a log-in on a page with those over the API. Raises TooManyCalls and CannotCount."""
    count_call("token", meta=meta, name=counted_name(email))
    count_call("token_address", meta=meta)


def count_call(scope: str, *, meta: Mapping[str, Any], name: str = "") -> None:
    """Count a call outside of DRF in a scope that fails closed. Raises TooManyCalls and CannotCount."""
    number, _, period = api_settings.DEFAULT_THROTTLE_RATES[scope].partition("/")
    identity = _address(meta)
    try:
        count, left = _count(scope, f"{identity} {name}" if name else identity, _PERIODS[period[0]])
    except Exception as away:
        structlog.stdlib.get_logger("error").exception("throttle_cache_unreachable", scope=scope)
        raise CannotCount from away
    if count > int(number):
        raise TooManyCalls(f"Too many tries. Wait {left} seconds.", headers={"Retry-After": str(left)})


def counted_name(email: Any) -> str:
    """Write an address the one way it is counted under, which is how its account is found."""
    # No account has a longer one, and what a stranger sends may be a megabyte.
    return normal_email(email[: LONGEST + 1]) if isinstance(email, str) else ""


def address_of(request: Request) -> str:
    """Name the address a request is counted under."""
    return _address(request.META)


def _note(request: Request, limit: int, left: int, seconds: int) -> None:
    """Keep the tightest of the limits a call was counted in for the answer's headers (gaas.middleware)."""
    told = getattr(request._request, "rate_limit", None)
    if told is None or left < told[1]:
        request._request.rate_limit = (limit, left, seconds)  # type: ignore[attr-defined]


def _address(meta: Mapping[str, Any]) -> str:
    return f"address:{address_group(client_address(meta))}"


def caller(request: Request) -> str:
    """Name who calls: the user, else the credential's owner (a host), else the address."""
    user = request.user
    if user is not None and user.is_authenticated:
        if getattr(user, "pk", None) is not None:
            return f"user:{user.pk}"
        if getattr(request.auth, "pk", None) is not None:
            return f"{type(request.auth).__name__}:{request.auth.pk}"
    return address_of(request)


def _count(scope: str, identity: str, seconds: int) -> tuple[int, int]:
    """Count one call; return the count and the seconds until the window closes."""
    # Hashed, since a cache refuses keys with blanks or of unbounded length.
    key = f"throttle:{scope}:{hashlib.sha256(identity.encode('utf-8', 'replace')).hexdigest()[:32]}"
    now = time.time()
    while not cache.add(key, 1, seconds):
        try:
            count = cache.incr(key)
        except ValueError:
            continue  # The window closed between the two: open the next one.
        if count == 1:
            # It closed inside incr, which then made a counter that would never end.
            cache.touch(key, seconds)
        opened: Any = cache.get(f"{key}:opened", now)
        return count, max(1, math.ceil(opened + seconds - now))
    cache.set(f"{key}:opened", now, seconds)
    return 1, seconds
