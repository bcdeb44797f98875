"""Limits on how often: one counter a scope and caller, shared by all processes through the cache."""

from __future__ import annotations

import hashlib
import math
import time
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog
from django.core.cache import cache
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle

from gaas.lib.rest.address import address_group, client_address

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which imports this module for its defaults

_PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


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
        except Exception:
            # A cache that is away must not take the whole API with it.
            structlog.stdlib.get_logger("error").exception("throttle_cache_unreachable", scope=scope)
            return True
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
        name = unicodedata.normalize("NFKC", email).strip().casefold() if isinstance(email, str) else ""
        return f"{address_of(request)} {name}"


class TokenAddressThrottle(WindowThrottle):
    """Count log-ins from one address, to whichever accounts."""

    scope = "token_address"

    def identity(self, request: Request, view: APIView) -> str | None:
        return address_of(request)


def address_of(request: Request) -> str:
    """Name the address a request is counted under."""
    return f"address:{address_group(client_address(request.META))}"


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
