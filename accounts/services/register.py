"""Let a person in."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts.models import User
from accounts.querysets import normal_email
from gaas.lib import clock
from gaas.lib.errors import DomainError, NotAllowed
from gaas.outbox import services as outbox


class RegistrationClosed(NotAllowed):
    """State that this platform takes nobody in over the API."""

    code = "registration_closed"


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
                context={"user": user, "base_url": settings.BASE_URL, "hours": settings.WELCOME_HOURS},
                key=f"welcome:{user.pk}",
            )
    except IntegrityError:
        # A parallel call took the address between the look and the insert.
        _write_again(User.objects.get(email=email))


def _write_again(user: User) -> None:
    """Tell the owner of a taken address, at most once a day."""
    outbox.post(
        to=user.email,
        subject="You have an account on GaaS already",
        template="mail/registered_again.txt",
        context={"user": user, "base_url": settings.BASE_URL},
        key=f"registered-again:{user.pk}:{clock.now():%Y-%m-%d}",
    )
