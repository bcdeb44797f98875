"""Let a person in."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts.models import User
from accounts.querysets import normal_email
from gaas.lib import clock
from gaas.lib.errors import DomainError, NotAllowed
from gaas.outbox import services as outbox

SALT = "accounts.verify_email"
KEY_AGE = timedelta(days=3)


class RegistrationClosed(NotAllowed):
    """State that this platform takes nobody in over the API."""

    code = "registration_closed"


class BadKey(DomainError):
    """State that a letter's key proves nothing."""

    code = "invalid_email_key"


class WeakPassword(DomainError):
    """State what is wrong with a password."""

    code = "weak_password"


def register(*, email: str, password: str, name: str = "") -> None:
    """Make a user with a personal account and its hours, and write to the address.

    Nothing tells the caller whether the address was taken: answer, errors and time (a password is hashed
    either way) are the same; the owner of a taken address gets a letter instead. Of parallel calls with one
    address the unique index lets one through. Raises RegistrationClosed and WeakPassword.
    """
    if settings.REGISTRATION != "open":
        raise RegistrationClosed("This platform takes no registrations; ask its staff for an account.")
    email = normal_email(email)
    try:
        validate_password(password, User(email=email, name=name))
    except ValidationError as weak:
        raise WeakPassword(" ".join(weak.messages), attr="password") from weak
    # Hashed before the look-up, so that the long part is the same for all.
    hashed = make_password(password)
    try:
        with transaction.atomic():
            user = User.objects.filter(email=email).first()
            if user is not None:
                _write_again(user)
                return
            user = User.objects.create(email=email, name=name, password=hashed)
            outbox.post(
                to=user.email,
                subject="Your account on GaaS",
                template="mail/welcome.txt",
                context={
                    "user": user,
                    "base_url": settings.BASE_URL,
                    "hours": settings.WELCOME_HOURS,
                    "key": verification_key(user),
                },
                key=f"welcome:{user.pk}",
            )
    except IntegrityError:
        # A parallel call took the address between the look and the insert.
        _write_again(User.objects.get(email=email))


def verification_key(user: User) -> str:
    """Make the key that proves that its bearer reads this user's mail; it is good for this address alone."""
    return signing.dumps([str(user.pk), user.email], salt=SALT)


def verify_email(*, key: str, now: datetime) -> str:
    """Note that a user reads the mail of the address and return that; a second time changes nothing.

    Raises BadKey for a key that is not ours, is older than KEY_AGE or speaks of an address that the user
    no longer has.
    """
    try:
        pk, email = signing.loads(key, salt=SALT, max_age=KEY_AGE)
        user = User.objects.filter(pk=pk, email=email, is_active=True).first()
    except (signing.BadSignature, ValueError, TypeError, ValidationError):
        user = None
    if user is None:
        raise BadKey(
            "This key is not valid or too old; register once more with the address for a new letter.", attr="key"
        )
    User.objects.filter(pk=user.pk, email_verified_at=None).update(email_verified_at=now, updated_at=now)
    return user.email


def _write_again(user: User) -> None:
    """Tell the owner of a taken address, at most once a day."""
    outbox.post(
        to=user.email,
        subject="You have an account on GaaS already",
        template="mail/registered_again.txt",
        context={
            "user": user,
            "base_url": settings.BASE_URL,
            "key": "" if user.email_verified_at else verification_key(user),
        },
        key=f"registered-again:{user.pk}:{clock.now():%Y-%m-%d}",
    )
