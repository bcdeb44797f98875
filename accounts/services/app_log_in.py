"""Log-ins by allauth's protocol for apps (allauth.headless): its flow on the way, our pair of tokens at the end.

The flow (a password, then a code or a security key) is kept in a session that never becomes a log-in: its key
stands sealed in the token that the app sends back, so that it is no browser's cookie, and the session is thrown away
when the last factor is proven. From then on the app has what auth/token gives, and nothing else.
"""

from __future__ import annotations

from typing import Any

from allauth.account import app_settings as account_settings
from allauth.account.internal.flows.login import get_authentication_records
from allauth.headless.internal import sessionkit
from allauth.headless.tokens.strategies.base import AbstractTokenStrategy
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.base import CreateError, SessionBase
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare, salted_hmac

from accounts.models import User
from accounts.services import second_factor, tokens
from gaas.lib.sealed import Sealed, Unsealable, seal

PURPOSE = "app_log_in"
BACKEND = "django.contrib.auth.backends.ModelBackend"
# Under which a flow keeps what the password was proven against.
PROVEN = "app_log_in.proven"


class Bearer(str):
    """Name the session of a log-in whose access token is proven: what its holder gave again, and what is half set up.

    Being of this class is what is believed, so no words of a header are ever taken for one.
    """

    user: User

    @classmethod
    def of(cls, *, sid: str, user: User) -> Bearer:
        made = cls(sid)
        made.user = user
        return made


class TokenPairs(AbstractTokenStrategy):  # type: ignore[misc]  # which has no types
    """Hand out the pair of auth/token, by the same rules, at the end of allauth's flow for apps."""

    def get_session_token(self, request: HttpRequest) -> str | None:
        """Give whose log-in `prove` set on the request, else the token of a flow that the app sent."""
        return getattr(request, "bearer", None) or super().get_session_token(request)

    def create_session_token(self, request: HttpRequest) -> str:
        """Seal the key of a flow's session; the app gets a token once and keeps it until the flow ends."""
        given = self.get_session_token(request)
        if isinstance(given, Bearer):
            return given
        if request.session.session_key is None:
            request.session.set_expiry(account_settings.LOGIN_TIMEOUT)
            request.session.save()
        key = str(request.session.session_key)
        return given if given and _opened(given) == key else seal(key, purpose=PURPOSE).token

    def lookup_session(self, session_token: str) -> SessionBase | None:
        if isinstance(session_token, Bearer):
            return _session_of(session_token)
        key = _opened(session_token)
        return sessionkit.lookup_session(key) if key else None

    def create_access_token_payload(self, request: HttpRequest) -> dict[str, Any]:
        """Begin a log-in for whom `finish` left on the request. Raises what `tokens.let_in` raises."""
        pair = tokens.let_in(user=request.user, request=request)  # type: ignore[arg-type]  # authenticated by now
        return {"access_token": pair.access, "refresh_token": pair.refresh}

    def refresh_token(self, refresh_token: str) -> tuple[str, str]:
        """Rotate as auth/token/refresh does. Raises LogInRefused."""
        pair = tokens.refresh_log_in(token=refresh_token)
        return pair.access, pair.refresh


def prove(*, request: HttpRequest, sid: str, user: User) -> None:
    """Let allauth see whoever an access token of the log-in `sid` was proven to belong to."""
    request.bearer = Bearer.of(sid=sid, user=user)  # type: ignore[attr-defined]


def begin(*, request: HttpRequest, user: User) -> None:
    """Note in a flow what the password was proven against, which a new password makes void."""
    request.session[PROVEN] = user.get_session_auth_hash()


def finish(*, request: HttpRequest, user: User) -> None:
    """End a flow whose factors are all proven: throw its session away and leave the user on the request.

    Raises LogInRefused for somebody who was switched off or got another password meanwhile, and OtpRequired where a
    second factor is set and was not given.
    """
    proven = request.session.get(PROVEN, "")
    methods = {record.get("method") for record in get_authentication_records(request, user)}
    request.session.flush()
    now = User.objects.filter(pk=user.pk, is_active=True).first()
    if now is None or not constant_time_compare(proven, now.get_session_auth_hash()):
        raise tokens.LogInRefused(
            "This log-in is over. Begin anew.", code="no_active_account", headers=tokens.CHALLENGE
        )
    if second_factor.is_set(now) and "mfa" not in methods:
        raise second_factor.OtpRequired("Give a second factor too. Begin anew.", headers=tokens.CHALLENGE)
    request.user = now


def _opened(token: str) -> str:
    """Give the key of a flow's session, or "" for what is no token of ours."""
    try:
        return str(Sealed(token, PURPOSE).open())
    except Unsealable:
        return ""


def _session_of(bearer: Bearer) -> SessionBase:
    """Find or make the session of a log-in by tokens. Its key is derived, so nobody outside can name it."""
    key = salted_hmac(PURPOSE, str(bearer), algorithm="sha256").hexdigest()[:40]
    found: SessionBase | None = sessionkit.lookup_session(key)
    if found is not None:
        return found
    made = sessionkit.session_store(key)
    made.delete(key)  # one whose time is over
    made.clear()
    made.update(
        {
            SESSION_KEY: str(bearer.user.pk),
            BACKEND_SESSION_KEY: BACKEND,
            HASH_SESSION_KEY: bearer.user.get_session_auth_hash(),
        }
    )
    made.set_expiry(account_settings.LOGIN_TIMEOUT)
    try:
        made.save(must_create=True)
    except CreateError:  # a parallel call made it
        return sessionkit.lookup_session(key) or made
    return made
