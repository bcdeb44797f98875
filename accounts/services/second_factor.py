"""A second factor: what it takes to log in beside a password."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from allauth.mfa.models import Authenticator
from django.conf import settings
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


def is_missing(user: Any) -> bool:
    """Tell whether STAFF_MFA asks this person for a second factor that is not set up."""
    return settings.STAFF_MFA and user.is_staff and not is_set(user)


def check_code(*, user: User, code: str, request: HttpRequest) -> Authenticator:
    """Give the authenticator whose code this is; a code is good once.

    A wrong one counts as a wrong log-in. Raises OtpInvalid, and LockedOut before looking at the code.
    """
    lockout.check(email=user.email, request=request)
    for authenticator in Authenticator.objects.filter(user=user).exclude(type=Authenticator.Type.WEBAUTHN):
        if authenticator.wrap().validate_code(code):
            return authenticator
    lockout.count_failure(email=user.email, request=request)
    raise OtpInvalid("This code is wrong, over or used. Give the one shown now.", attr="otp", headers=CHALLENGE)


def demand(*, user: User, otp: str, request: HttpRequest) -> None:
    """Let a log-in by password pass where no second factor is set, or where `otp` is a code of one.

    Security keys give no codes: with nothing else set, `otp` is a recovery code. Raises OtpRequired,
    OtpInvalid, SecondFactorMissing, LockedOut.
    """
    if not is_set(user):
        if is_missing(user):
            raise SecondFactorMissing(
                f"Staff log in with a second factor here: set one up at {settings.BASE_URL}/accounts/2fa/ first."
            )
        return
    if not otp:
        raise OtpRequired(
            "Give `otp` too: the code of your authenticator app, or a recovery code.", attr="otp", headers=CHALLENGE
        )
    check_code(user=user, code=otp, request=request).record_usage()


def remove_all(*, user: User, by: Any, now: datetime) -> None:
    """Take all second factors off a user who lost them, and log them out. Raises Conflict where there are none."""
    if user.is_above(by):
        raise NotAllowed("Removing the second factor of one of the staff takes a superuser.")
    with transaction.atomic():
        if not Authenticator.objects.filter(user=user).delete()[0]:
            raise Conflict("This user has no second factor.")
        user.end_log_ins(now=now)
        record(action="user.remove_second_factor", obj=user, by=by, now=now)
