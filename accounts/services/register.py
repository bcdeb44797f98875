"""Let a person in, and make sure of their address."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import make_password
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest

from accounts.models import Invitation, User
from accounts.services import lockout, passwords
from accounts.services.passwords import WeakPassword, check_strength
from gaas.lib import clock
from gaas.lib.emails import normal_email
from gaas.lib.errors import DomainError, NotAllowed
from gaas.outbox import services as outbox

__all__ = ["WeakPassword"]

SALT = "accounts.verify_email"
KEY_AGE = timedelta(days=3)


class RegistrationClosed(NotAllowed):
    """State that this platform does not take this address in."""

    code = "registration_closed"


class BadKey(DomainError):
    """State that a letter's key proves nothing."""

    code = "invalid_email_key"


class PasswordRequired(DomainError):
    """State that a letter's key alone does not tell whether its reader is who registered."""

    code = "password_required"


class EmailNotVerified(NotAllowed):
    """State that the address has to be confirmed first."""

    code = "email_not_verified"


def register(*, email: str, password: str, name: str = "", invitation: str = "") -> User | None:
    """Make a user with a personal account and its hours, and write to the address; give the user who was made, if any.

    That is for the browser's session alone. Nothing tells the caller whether the address was taken: answer, errors and
    time (a password is hashed either way) are the same; the owner of a taken address gets a letter instead. Of
    parallel calls with one address the unique index lets one through. `invitation` is the token of a letter to this
    very address, which so is confirmed too. Raises RegistrationClosed and WeakPassword.
    """
    email = normal_email(email)
    letter = Invitation.objects.of_letter(invitation, now=clock.now())
    invited = bool(invitation) and letter.filter(email=email).exists()
    check_open(email=email, is_invited=invited)
    check_strength(password, User(email=email, name=name))
    # Hashed before the look-up, so that the long part is the same for all.
    hashed = make_password(password)
    try:
        with transaction.atomic():
            user = User.objects.filter(email=email).first()
            if user is not None:
                _write_again(user)
                return None
            user = User.objects.create(
                email=email, name=name, password=hashed, email_verified_at=clock.now() if invited else None
            )
            outbox.post(
                to=user.email,
                subject="Your account on GaaS",
                template="mail/welcome.txt",
                context={
                    "user": user,
                    "base_url": settings.BASE_URL,
                    "hours": settings.WELCOME_HOURS,
                    "key": "" if invited else verification_key(user),
                },
                key=f"welcome:{user.pk}",
            )
            return user
    except IntegrityError:
        # A parallel call took the address between the look and the insert.
        _write_again(User.objects.get(email=email))
        return None


def check_open(*, email: str, is_invited: bool = False) -> None:
    """Raise RegistrationClosed unless REGISTRATION lets this address in; an invitation does wherever any does."""
    mode = settings.REGISTRATION
    if mode == "open" or (is_invited and mode != "closed"):
        return
    if mode == "domains":
        if email.rpartition("@")[2] in settings.REGISTRATION_DOMAINS:
            return
        raise RegistrationClosed(
            f"This platform takes addresses at {', '.join(settings.REGISTRATION_DOMAINS)} only.", attr="email"
        )
    if mode == "invite":
        raise RegistrationClosed("This platform takes whoever is invited; follow the link of your invitation.")
    raise RegistrationClosed("This platform takes no registrations; ask its staff for an account.")


def check_verified(user: User, *, is_needed: bool | None = None) -> None:
    """Raise EmailNotVerified for an unconfirmed address, where REQUIRE_VERIFIED_EMAIL or the caller needs it."""
    needed = settings.REQUIRE_VERIFIED_EMAIL if is_needed is None else is_needed
    if needed and user.email_verified_at is None:
        raise EmailNotVerified(
            f"Confirm your address first, by its letter. For a new one: {settings.BASE_URL}/accounts/verify-email/"
        )


def verification_key(user: User) -> str:
    """Make the key that proves that its bearer reads this user's mail; it is good for this address alone."""
    return signing.dumps([str(user.pk), user.email], salt=SALT)


def ask_verification(*, email: str, now: datetime) -> None:
    """Send the key again to an unconfirmed address, at most once a minute.

    Nothing tells the caller whether there is one: for all others, the same is written and rolled back.
    """
    user = User.objects.filter(email=normal_email(email), is_active=True, email_verified_at=None).first()
    with transaction.atomic():
        to = user or User(email=email)
        outbox.post(
            to=to.email,
            subject="Confirm your address on GaaS",
            template="mail/verify.txt",
            context={"user": to, "base_url": settings.BASE_URL, "key": verification_key(to)},
            key=f"verify:{to.pk}:{now:%Y-%m-%dT%H:%M}",
        )
        if user is None:
            transaction.set_rollback(True)


def owner_of_key(key: str) -> User:
    """Give whose address a letter's key confirms.

    Raises BadKey for a key that is not ours, is older than KEY_AGE or speaks of an address that the user
    no longer has.
    """
    try:
        pk, email = signing.loads(key, salt=SALT, max_age=KEY_AGE)
        user = User.objects.filter(pk=pk, email=email, is_active=True).first()
    except (signing.BadSignature, ValueError, TypeError, ValidationError):
        user = None
    if user is None:
        raise BadKey("This key is not valid or too old; ask for a new letter.", attr="key")
    return user


def verify_email(
    *,
    key: str,
    password: str = "",
    new_password: str = "",
    known: Collection[str] = (),
    request: HttpRequest,
    now: datetime,
) -> str:
    """Note that a user reads the mail of the address and return that; a second time changes nothing.

    Whoever reads the mail is not always who registered the address, and must not be made to lend it to a stranger who
    knows the password. So the caller is known to be that user already (`known` has ids of users: logged in, or
    registered in this browser), gives the `password` that was chosen, or sets a `new_password`, which ends all that was
    set up by the old one. Raises BadKey, PasswordRequired, WrongPassword, LockedOut and WeakPassword.
    """
    user = owner_of_key(key)
    if user.email_verified_at is not None:
        return user.email
    if new_password:
        passwords.take_over(user=user, new_password=new_password, now=now)
        return user.email
    if str(user.pk) not in known:
        if not password:
            raise PasswordRequired(
                "Give the password that was chosen for this account, or set a new one if that was not you.",
                attr="password",
            )
        lockout.check(email=user.email, request=request)
        if authenticate(request, username=user.email, password=password) != user:
            raise passwords.WrongPassword("This is not the password of this account.", attr="password")
        lockout.forgive(email=user.email, request=request)
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
