"""Log-ins over the API: a family of tokens each, rotated with one winner."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import authenticate
from django.http import HttpRequest
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token
from rest_framework_simplejwt.utils import get_md5_hash_password

from accounts.models import TokenFamily, User
from accounts.services import lockout, second_factor
from accounts.services.register import check_verified
from gaas.lib import clock
from gaas.lib.errors import DomainError

# What RFC 9110 wants beside every 401.
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="api"'}


class LogInRefused(DomainError):
    """Refuse without telling which of address, password or token was wrong, or why."""

    status = 401
    code = "token_not_valid"


class WrongLogIn(LogInRefused):
    """Refuse address and password, whichever of them is wrong."""

    code = "no_active_account"

    def __init__(self) -> None:
        super().__init__("No active account has this address and password.", headers=CHALLENGE)


@dataclass(frozen=True)
class TokenPair:
    """Hold what a log-in hands out: a short-lived access token and a refresh token for one use."""

    access: str
    refresh: str


def log_in(*, email: str, password: str, request: HttpRequest, otp: str = "") -> TokenPair:
    """Exchange address and password, and a code where a second factor is set, for tokens.

    Unknown addresses and inactive users cost a password hash too (Django's backend sees to it) and get
    the same WrongLogIn. An older kind of hash is written anew in the first kind. Raises LockedOut before
    any hash, and what `admit` raises.
    """
    lockout.check(email=email, request=request)
    user = authenticate(request, username=email, password=password)
    if user is None:
        raise WrongLogIn
    return admit(user=user, otp=otp, request=request)


def admit(*, user: User, request: HttpRequest, otp: str = "") -> TokenPair:
    """Give tokens to whoever has proven the first factor, if nothing else is asked for.

    Raises EmailNotVerified, and OtpRequired, OtpInvalid, SecondFactorMissing and LockedOut for the second factor.
    """
    second_factor.demand(user=user, otp=otp, request=request)
    return let_in(user=user, request=request)


def let_in(*, user: User, request: HttpRequest) -> TokenPair:
    """Give tokens to whoever has proven every factor that is set.

    Raises SecondFactorMissing for staff who have none where STAFF_MFA asks for it, and EmailNotVerified.
    """
    second_factor.refuse_missing(user)
    check_verified(user)
    lockout.forgive(email=user.email, request=request)
    return open_log_in(user=user)


def open_log_in(*, user: User) -> TokenPair:
    """Begin a family of tokens for a user whose identity is proven."""
    now = clock.now()
    refresh = RefreshToken.for_user(user)
    family = TokenFamily(user=user, current_jti=refresh["jti"], rotated_at=now, expires_at=now + _lifetime())
    refresh["sid"] = str(family.pk)
    family.save(force_insert=True)
    return TokenPair(access=str(refresh.access_token), refresh=str(refresh))


def refresh_log_in(*, token: str) -> TokenPair:
    """Exchange a refresh token, which is good for one exchange, for a new pair.

    1. Check signature, kind, user, password since.
    2. Rotate: one UPDATE on the token's jti; of parallel callers exactly one changes the row.
    3. The others are refused. Within REFRESH_GRACE_SECONDS of the rotation they are the parallel calls of an
       honest client; later, or with a token older still, somebody has a copy: the family ends.
    """
    now = clock.now()
    old = _read(RefreshToken, token)
    family = _live_family(old)
    new = RefreshToken.for_user(family.user)
    new["sid"] = str(family.pk)
    # By the row's own columns alone: a condition on the user would move all of them into a sub-select, which
    # PostgreSQL does not ask again after waiting for a parallel winner, and two would win.
    if (
        TokenFamily.objects.live()
        .filter(pk=family.pk, current_jti=old["jti"])
        .update(
            current_jti=new["jti"],
            previous_jti=old["jti"],
            rotated_at=now,
            expires_at=now + _lifetime(),
            updated_at=now,
        )
    ):
        return TokenPair(access=str(new.access_token), refresh=str(new))
    family.refresh_from_db(fields=["previous_jti", "rotated_at"])
    grace = timedelta(seconds=settings.REFRESH_GRACE_SECONDS)
    if old["jti"] != family.previous_jti or now - family.rotated_at > grace:
        TokenFamily.objects.filter(pk=family.pk).end(now=now)
    raise _refused()


def log_out(*, token: str, everywhere: bool = True) -> None:
    """End every log-in of a refresh token's user, or the token's own alone.

    Access tokens and browsers are refused from now on. A log-in that has ended already stays so and ends no
    others. Raises LogInRefused for what is no refresh token of ours.
    """
    read = _read(RefreshToken, token)
    now = clock.now()
    family = TokenFamily.objects.filter(pk=_uuid(read), user=_user_id(read))
    if family.end(now=now) and everywhere:
        User.objects.get(pk=_user_id(read)).end_log_ins(now=now)


def live_log_in(*, token: str, kinds: tuple[type[Token], ...] = (AccessToken,)) -> tuple[User, Token]:
    """Give the user and the claims of a token that stands, in one query.

    Stands: signed by us, of one of these kinds, not expired, its family not ended, the user active, the
    password the same as when it was made. Raises LogInRefused for all else alike.
    """
    for kind in kinds:
        try:
            read = kind(token)  # type: ignore[arg-type]  # its own stub says Token where it takes text
        except TokenError:
            continue
        return _live_family(read).user, read
    raise _refused()


def forget_outlived_log_ins(*, now: datetime) -> int:
    """Remove families of which no token can be used any more; return how many."""
    return TokenFamily.objects.outlived(now=now).delete()[0]


def _read(kind: type[Token], token: str) -> Token:
    try:
        return kind(token)  # type: ignore[arg-type]  # its own stub says Token where it takes text
    except TokenError as fault:
        raise _refused() from fault


def _live_family(token: Token) -> TokenFamily:
    """Find the family of a token whose signature is good; one query."""
    family = (
        TokenFamily.objects.live()
        .filter(pk=_uuid(token), user=_user_id(token), user__is_active=True)
        .select_related("user")
        .first()
    )
    if family is None:
        raise _refused()
    claimed = str(token.get(api_settings.REVOKE_TOKEN_CLAIM, ""))
    if not hmac.compare_digest(claimed.encode(), get_md5_hash_password(family.user.password).encode()):
        raise _refused()
    return family


def _uuid(token: Token, claim: str = "sid") -> UUID:
    value: Any = token.get(claim)
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError) as fault:
        raise _refused() from fault


def _user_id(token: Token) -> UUID:
    return _uuid(token, api_settings.USER_ID_CLAIM)


def _lifetime() -> timedelta:
    return api_settings.REFRESH_TOKEN_LIFETIME


def _refused() -> LogInRefused:
    return LogInRefused("This token is not valid, has expired or was used before; log in again.", headers=CHALLENGE)
