"""A second factor: what it takes to log in beside a password."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from allauth.mfa import app_settings
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.http import HttpRequest

from accounts.models import User
from accounts.services import lockout
from gaas.audit.services import record
from gaas.lib.errors import Conflict, DomainError, NotAllowed

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="api"'}


class OtpRequired(DomainError):
    """State that the password is right and not enough."""

    status = 401
    code = "otp_required"


class OtpInvalid(DomainError):
    """Refuse a code that is wrong, over or used."""

    status = 401
    code = "otp_invalid"


class SecondFactorMissing(NotAllowed):
    """State that staff log in by a second factor here, and this person has none yet."""

    code = "second_factor_missing"


def is_set(user: User) -> bool:
    return Authenticator.objects.filter(user=user).exists()


def is_app_set(user: User) -> bool:
    return Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP).exists()


def is_missing(user: Any) -> bool:
    """Tell whether STAFF_MFA asks this person for a second factor that is not set up."""
    return settings.STAFF_MFA and user.is_staff and not is_set(user)


def refuse_missing(user: Any) -> None:
    """Raise SecondFactorMissing where STAFF_MFA asks this person for a second factor that is not set up."""
    if is_missing(user):
        raise SecondFactorMissing(
            f"Staff log in with a second factor here: set one up at {settings.BASE_URL}/accounts/2fa/ first."
        )


def check_code(*, user: User, code: str, request: HttpRequest) -> Authenticator:
    """Give the authenticator whose code this is; a code is good once, and a recovery code's use is recorded.

    A wrong one counts as a wrong log-in. Raises OtpInvalid, and LockedOut before looking at the code.
    """
    lockout.check(email=user.email, request=request)
    for authenticator in Authenticator.objects.filter(user=user).exclude(type=Authenticator.Type.WEBAUTHN):
        if _is_code_of(authenticator, code, user):
            return authenticator
    lockout.count_failure(email=user.email, request=request)
    raise OtpInvalid("This code is wrong, over or used. Give the one shown now.", attr="otp", headers=CHALLENGE)


def demand(*, user: User, otp: str, request: HttpRequest) -> None:
    """Let a log-in by password pass where no second factor is set, or where `otp` is a code of one.

    Security keys give no codes: with nothing else set, `otp` is a recovery code. Raises OtpRequired,
    OtpInvalid, SecondFactorMissing, LockedOut.
    """
    if not is_set(user):
        refuse_missing(user)
        return
    if not otp:
        raise OtpRequired(
            "Give `otp` too: the code of your authenticator app, or a recovery code.", attr="otp", headers=CHALLENGE
        )
    check_code(user=user, code=otp, request=request).record_usage()


def end_of_stranger(*, user: User, now: datetime) -> None:
    """Take all second factors off whose user reads the mail of an address that nobody had confirmed until now.

    Nobody can tell who set them up. Those of staff stay, since no stranger was made one of them, and their mail alone
    must not open the admin. In the caller's transaction.
    """
    if user.is_staff:
        return
    if Authenticator.objects.filter(user=user).delete()[0]:
        reason = "Set up before anybody had confirmed the address"
        record(action="user.remove_second_factor", obj=user, by=user, reason=reason, now=now)


def remove_all(*, user: User, by: Any, now: datetime) -> None:
    """Take all second factors off a user who lost them, and log them out. Raises Conflict where there are none."""
    if user.is_above(by):
        raise NotAllowed("Removing the second factor of one of the staff takes a superuser.")
    with transaction.atomic():
        if not Authenticator.objects.filter(user=user).delete()[0]:
            raise Conflict("This user has no second factor.")
        user.end_log_ins(now=now)
        record(action="user.remove_second_factor", obj=user, by=by, now=now)


def _is_code_of(authenticator: Authenticator, code: str, user: User) -> bool:
    """Check a code and use it up; a recovery code in one transaction with the record of it."""
    kind = authenticator.wrap()
    if authenticator.type == Authenticator.Type.TOTP:
        if not kind.validate_code(code):
            return False
        # allauth remembers it for one period alone, and takes it for as many as its tolerance adds.
        periods = 2 * settings.MFA_TOTP_TOLERANCE + 1
        cache.touch(kind._get_used_cache_key(code), periods * app_settings.TOTP_PERIOD)
        return True
    with transaction.atomic():
        if not kind.validate_code(code):
            return False
        left = len(kind.get_unused_codes())
        record(action="second_factor.recovery_code_used", obj=user, by=user, after={"left": left})
    return True
