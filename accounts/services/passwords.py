"""New passwords: by a letter, or by the present one. Each ends every log-in of the user."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.tokens import default_token_generator
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest

from accounts.models import ApiKey, User
from accounts.services import lockout, second_factor
from gaas.audit.services import record
from gaas.lib.emails import normal_email
from gaas.lib.errors import DomainError
from gaas.outbox import services as outbox


class WeakPassword(DomainError):
    """State what is wrong with a password."""

    code = "weak_password"


class BadResetToken(DomainError):
    """State that a letter's link sets no password any more."""

    code = "invalid_reset_token"


class WrongPassword(DomainError):
    """State that the present password is another one."""

    code = "wrong_password"


def check_strength(password: str, user: User, *, attr: str = "password") -> None:
    """Raise WeakPassword with all that is wrong."""
    try:
        validate_password(password, user)
    except ValidationError as weak:
        raise WeakPassword(" ".join(weak.messages), attr=attr) from weak


def ask_reset(*, email: str, now: datetime) -> None:
    """Send the owner of an address a link by which a new password is set, at most one a minute.

    Nothing tells the caller whether there is one: for nobody, the same is written and rolled back.
    """
    user = User.objects.filter(email=normal_email(email), is_active=True).first()
    with transaction.atomic():
        _write(user or User(email=email, password="!"), now)  # noqa: S106  nobody's
        if user is None:
            transaction.set_rollback(True)


def confirm_reset(*, uid: str, token: str, new_password: str, revoke_keys: bool = False, now: datetime) -> User:
    """Set a password by a letter's link, once; whoever did reads the mail of the address, so it is confirmed too.

    Of parallel calls one wins, since the row is changed only where it still has the old password. API keys stay
    unless `revoke_keys` says that somebody else may have got at them, or nobody had confirmed the address yet:
    then somebody else may have registered it, and made them. So it is with a second factor; off staff, and off an
    account whose address is confirmed, mail alone takes none. Raises BadResetToken and WeakPassword.
    """
    user = _owner(uid)
    if user is None or not default_token_generator.check_token(user, token):
        raise BadResetToken("This link is used, too old or not ours. Ask for a new letter.", attr="token")
    check_strength(new_password, user, attr="new_password")
    with transaction.atomic():
        if not _set_by_mail(user, new_password, revoke_keys, now):
            raise BadResetToken("This link is used. Ask for a new letter.", attr="token")
    return user


def take_over(*, user: User, new_password: str, now: datetime) -> None:
    """Set the password of whoever reads the mail of an address that nobody had confirmed, and confirm it.

    Somebody else may have registered it and wait: their password, log-ins, keys and second factors end. Raises
    WeakPassword, and WrongPassword where a parallel call set another one.
    """
    check_strength(new_password, user, attr="new_password")
    with transaction.atomic():
        if not _set_by_mail(user, new_password, True, now):
            raise WrongPassword("Your password was set elsewhere a moment ago: give that.", attr="password")


def change(
    *,
    user: User,
    current_password: str,
    new_password: str,
    revoke_keys: bool = False,
    request: HttpRequest,
    now: datetime,
) -> None:
    """Set a password by the present one, keys as in confirm_reset. Raises WrongPassword, LockedOut, WeakPassword."""
    lockout.check(email=user.email, request=request)
    if authenticate(request, username=user.email, password=current_password) != user:
        raise WrongPassword("This is not your present password.", attr="current_password")
    user.refresh_from_db(fields=["password"])  # an older kind of hash was written anew
    check_strength(new_password, user, attr="new_password")
    with transaction.atomic():
        if not _set(user, new_password, revoke_keys, now):
            raise WrongPassword("Your password was changed elsewhere a moment ago.", attr="current_password")
        lockout.forgive(email=user.email, request=request)
        record(action="user.change_password", obj=user, by=user, now=now)


def _set_by_mail(user: User, password: str, revoke_keys: bool, now: datetime) -> bool:
    """Set a password for who reads the user's mail; False where it has changed meanwhile."""
    is_first = user.email_verified_at is None
    if not _set(user, password, revoke_keys or is_first, now):
        return False
    if is_first and User.objects.filter(pk=user.pk, email_verified_at=None).update(email_verified_at=now):
        second_factor.end_of_stranger(user=user, now=now)
    lockout.forgive_everywhere(email=user.email)
    record(action="user.reset_password", obj=user, by=user, now=now)
    return True


def _set(user: User, password: str, revoke_keys: bool, now: datetime) -> bool:
    changed = User.objects.filter(pk=user.pk, password=user.password, is_active=True).update(
        password=make_password(password), updated_at=now
    )
    if changed:
        user.refresh_from_db(fields=["password"])
        user.end_log_ins(now=now)
        for key in ApiKey.objects.filter(user=user, revoked_at__isnull=True) if revoke_keys else ():
            key.revoke(by=user, reason="With a new password", now=now)
    return bool(changed)


def _owner(uid: str) -> User | None:
    try:
        return User.objects.filter(pk=UUID(uid), is_active=True).first()
    except ValueError:
        return None


def _write(user: User, now: datetime) -> None:
    query: dict[str, Any] = {"uid": str(user.pk), "token": default_token_generator.make_token(user)}
    outbox.post(
        to=user.email,
        subject="A new password for GaaS",
        template="mail/reset_password.txt",
        context={
            "user": user,
            "base_url": settings.BASE_URL,
            "link": f"{settings.BASE_URL}/accounts/password/reset/confirm/?{urlencode(query)}",
            "minutes": settings.PASSWORD_RESET_TIMEOUT // 60,
        },
        key=f"reset:{user.pk}:{now:%Y-%m-%dT%H:%M}",
    )
