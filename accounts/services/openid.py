"""Believe what an OpenID provider says of a person, Google by default: its words, signed by its keys, meant for us.

Nothing is stored here. RFC 6749 (code), RFC 7636 (PKCE), OpenID Connect Core 3.1.3.7 (what to check of an id_token).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
import structlog
from django.conf import settings

from gaas.lib.errors import DomainError, NotFound

ALGORITHMS = ["RS256", "ES256"]
KEEP_SECONDS = 3600
# A key that nobody knows makes us look for new ones, but no more often than this.
LOOK_AGAIN_SECONDS = 10
TIMEOUT = httpx.Timeout(10)
SKEW_SECONDS = 30
# What the column of connections holds.
LONGEST_UID = 191


class ProviderRefused(DomainError):
    """State that what was sent proves nothing: forged, used, meant for somebody else, too old."""

    code = "google_refused"


class ProviderUnreachable(DomainError):
    """State that the provider cannot be asked right now."""

    status = 503
    code = "google_unreachable"


@dataclass(frozen=True)
class Identity:
    """Hold who the provider says this is. `uid` is for ever; the address is theirs to change."""

    uid: str
    email: str
    is_email_verified: bool
    name: str
    expires_at: int


@dataclass(frozen=True)
class Journey:
    """Keep in a session what a browser took along to the provider, to hold what comes back against it."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def begin(cls) -> Journey:
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))


def callback_url() -> str:
    """Give the address that the provider leads back to; by BASE_URL, never by what a request says."""
    return f"{settings.BASE_URL}/accounts/google/callback/"


def authorization_url(journey: Journey) -> str:
    """Give where to send the browser."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(journey.verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "client_id": _client_id(),
        "redirect_uri": callback_url(),
        "response_type": "code",
        "scope": "openid email profile",
        "state": journey.state,
        "nonce": journey.nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "prompt": "select_account",
    }
    return f"{_provider.endpoint('authorization_endpoint')}?{urlencode(query)}"


def by_code(*, code: str, nonce: str, redirect_uri: str = "", verifier: str = "") -> tuple[Identity, str]:
    """Exchange a code, which is good once, for an identity and the id_token that says so."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": _client_id(),
        "client_secret": settings.GOOGLE_CLIENT_SECRET,
        "redirect_uri": redirect_uri or callback_url(),
        **({"code_verifier": verifier} if verifier else {}),
    }
    answer = _ask("POST", _provider.endpoint("token_endpoint"), data=form)
    id_token = answer.get("id_token")
    if not isinstance(id_token, str):
        raise _refused("the provider refused the code")
    return by_id_token(id_token=id_token, nonce=nonce), id_token


def by_id_token(*, id_token: str, nonce: str = "") -> Identity:
    """Read an id_token: signed by the provider, for us, now, and with this very nonce or, where none is given, none."""
    try:
        header = jwt.get_unverified_header(id_token)
        key = _provider.key(str(header.get("kid") or ""))
        claims: dict[str, Any] = jwt.decode(
            id_token,
            key,
            algorithms=ALGORITHMS,
            audience=_client_id(),
            issuer=[settings.GOOGLE_ISSUER, settings.GOOGLE_ISSUER.removeprefix("https://")],
            leeway=SKEW_SECONDS,
            options={"require": ["exp", "iat", "iss", "aud", "sub"], "strict_aud": True},
        )
    except (jwt.PyJWTError, ValueError, TypeError) as fault:
        raise _refused(f"id_token: {type(fault).__name__}") from fault
    if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
        raise _refused("another nonce")
    if claims.get("azp", _client_id()) != _client_id():
        raise _refused("another party")
    uid = str(claims["sub"])
    if not 0 < len(uid) <= LONGEST_UID:
        # A part of it may be somebody else's.
        raise _refused("no sub, or one too long")
    return Identity(
        uid=uid,
        email=str(claims.get("email") or ""),
        is_email_verified=claims.get("email_verified") is True,
        name=str(claims.get("name") or "")[:150],
        expires_at=int(claims["exp"]),
    )


class _Provider:
    """Keep what the provider publishes about itself for an hour; look for new keys when one is unknown."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of = ""
        self._document: dict[str, Any] = {}
        self._keys: dict[str, Any] = {}
        self._read_at = self._keys_at = 0.0

    def endpoint(self, name: str) -> str:
        with self._lock:
            now = time.monotonic()
            if self._of != settings.GOOGLE_ISSUER or now - self._read_at > KEEP_SECONDS or not self._document:
                document = _ask("GET", f"{settings.GOOGLE_ISSUER}/.well-known/openid-configuration")
                if document.get("issuer") != settings.GOOGLE_ISSUER:
                    raise ProviderUnreachable("The provider names itself otherwise.", headers={"Retry-After": "60"})
                self._of, self._document, self._read_at, self._keys_at = settings.GOOGLE_ISSUER, document, now, 0.0
            url = self._document.get(name)
            if not isinstance(url, str) or not url.startswith(("https://", "http://")):
                raise ProviderUnreachable(f"The provider names no {name}.", headers={"Retry-After": "60"})
            return url

    def key(self, kid: str) -> Any:
        url = self.endpoint("jwks_uri")
        with self._lock:
            age = time.monotonic() - self._keys_at
            if not self._keys_at or age > KEEP_SECONDS or (kid not in self._keys and age > LOOK_AGAIN_SECONDS):
                found = jwt.PyJWKSet.from_dict(_ask("GET", url))
                self._keys = {key.key_id: key.key for key in found.keys if key.key_id}
                self._keys_at = time.monotonic()
            if kid not in self._keys:
                raise jwt.InvalidTokenError("unknown key")
            return self._keys[kid]


_provider = _Provider()


def _ask(method: str, url: str, **how: Any) -> dict[str, Any]:
    try:
        answer = httpx.request(method, url, timeout=TIMEOUT, follow_redirects=False, **how)
        if answer.status_code >= 500:
            answer.raise_for_status()
        body = answer.json()
    except (httpx.HTTPError, ValueError) as away:
        raise ProviderUnreachable(
            "The provider does not answer. Try again in a moment.", headers={"Retry-After": "10"}
        ) from away
    return body if isinstance(body, dict) else {}


def _client_id() -> str:
    if not settings.GOOGLE_CLIENT_ID:
        raise NotFound("This platform is not set up for log-ins by Google.")
    return str(settings.GOOGLE_CLIENT_ID)


def _refused(why: str) -> ProviderRefused:
    # Why is for staff: to a forger it would be a lesson.
    structlog.stdlib.get_logger("app").warning("openid_refused", why=why)
    return ProviderRefused("This proves nothing: it is used, too old or not meant for this platform. Begin anew.")
