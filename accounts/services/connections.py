"""Let people in by what a provider of identities says of them; an account is linked by a confirmed address alone."""

from __future__ import annotations

import hashlib
import time
from datetime import datetime
from typing import Any

from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.hashers import make_password
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.http import HttpRequest

from accounts.models import User
from accounts.services import notices, openid, tokens
from accounts.services.register import EmailNotVerified, check_open, check_verified
from gaas.audit.services import record
from gaas.lib import clock
from gaas.lib.emails import check_email, normal_email
from gaas.lib.errors import Conflict, NotFound

PROVIDER = "google"


class AlreadyConnected(Conflict):
    """State that somebody here logs in by this account elsewhere already."""

    code = "already_connected"


class OnlyWayIn(Conflict):
    """Refuse to cut off the only way by which a person logs in."""

    code = "only_way_in"


def user_of(*, identity: openid.Identity, now: datetime) -> User:
    """Find whose identity this is; link it to the account of its address, or make one.

    Linking needs the address confirmed on both sides: on the provider's, or anybody could claim one; on ours,
    or who registered a stranger's address could wait there with a password. Raises EmailNotVerified,
    RegistrationClosed and ProviderRefused.
    """
    for _ in range(2):
        try:
            with transaction.atomic():
                return _user_of(identity, now)
        except IntegrityError:
            continue  # A parallel call linked or made it: it is found now.
    raise AlreadyConnected("This account is being connected elsewhere right now. Try again.")


def log_in(
    *,
    request: HttpRequest,
    code: str | None = None,
    id_token: str = "",
    nonce: str = "",
    redirect_uri: str = "",
    code_verifier: str = "",
    otp: str = "",
) -> tokens.TokenPair:
    """Exchange a code or an id_token, each good once, for tokens. Raises what `user_of` and `tokens.admit` raise."""
    if code:
        identity, id_token = openid.by_code(code=code, nonce=nonce, redirect_uri=redirect_uri, verifier=code_verifier)
    else:
        identity = openid.by_id_token(id_token=id_token, nonce=nonce)
    with _once(id_token, identity.expires_at):
        return tokens.admit(user=user_of(identity=identity, now=clock.now()), otp=otp, request=request)


def connect(*, user: User, identity: openid.Identity, now: datetime) -> None:
    """Let a person who is logged in log in by this identity too, and write them so.

    Who calls has had them prove again who they are. Raises AlreadyConnected, EmailNotVerified.
    """
    check_verified(user, is_needed=True)
    for _ in range(2):
        found = SocialAccount.objects.filter(provider=PROVIDER, uid=identity.uid).first()
        if found is not None and found.user_id != user.pk:
            raise AlreadyConnected("Somebody here logs in by this account already.")
        if found is not None:
            return
        try:
            with transaction.atomic():
                _link(user, identity, now)
            return
        except IntegrityError:
            continue  # A parallel call connected it: whose it is stands there now.
    raise AlreadyConnected("This account is being connected elsewhere right now. Try again.")


def disconnect(*, user: User, pk: str, now: datetime) -> None:
    """Cut a connection off. Raises NotFound, and OnlyWayIn for the last one of a person without a password.

    Locks: the user, so that of two parallel cuts the second sees what the first left.
    """
    with transaction.atomic():
        user = User.objects.select_for_update(no_key=True).get(pk=user.pk)
        found = SocialAccount.objects.filter(user=user, pk=int(pk) if pk.isdecimal() else 0).first()
        if found is None:
            raise NotFound("This connection is gone already.")
        if not user.has_usable_password() and not SocialAccount.objects.filter(user=user).exclude(pk=found.pk).exists():
            raise OnlyWayIn("Set a password by mail first: this is your only way in.")
        record(action="connection.remove", obj=user, by=user, before={"provider": PROVIDER, "uid": found.uid}, now=now)
        found.delete()
        what = "A Google account was cut off from your account"
        notices.tell(user=user, what=what, where="/accounts/connections/", now=now)


def _user_of(identity: openid.Identity, now: datetime) -> User:
    linked = SocialAccount.objects.select_related("user").filter(provider=PROVIDER, uid=identity.uid).first()
    if linked is not None:
        if not linked.user.is_active:
            raise openid.ProviderRefused("This account is switched off. Ask the staff of the platform.")
        return linked.user
    email = normal_email(identity.email)
    try:
        validate_email(email)
        check_email(email)
    except ValidationError as fault:
        raise openid.ProviderRefused("The provider gives no address of mail. Allow it to.") from fault
    if not identity.is_email_verified:
        raise EmailNotVerified("The provider has not confirmed that this address is yours.")
    user = User.objects.filter(email=email).first()
    is_new = user is None
    if user is None:
        check_open(email=email)
        user = User.objects.create(email=email, name=identity.name, password=make_password(None), email_verified_at=now)
    elif not user.is_active:
        raise openid.ProviderRefused("This account is switched off. Ask the staff of the platform.")
    else:
        check_verified(user, is_needed=True)
    _link(user, identity, now, is_new=is_new)
    return user


def _link(user: User, identity: openid.Identity, now: datetime, *, is_new: bool = False) -> None:
    SocialAccount.objects.create(
        user=user, provider=PROVIDER, uid=identity.uid, extra_data={"email": identity.email, "name": identity.name}
    )
    record(action="connection.add", obj=user, by=user, after={"provider": PROVIDER, "uid": identity.uid}, now=now)
    if not is_new:
        what = "A Google account was connected to your account, and logs in to it now"
        notices.tell(user=user, what=what, where="/accounts/connections/", now=now)


class _once:
    """Take an id_token once until it runs out; a log-in that is refused gives it back."""

    def __init__(self, id_token: str, expires_at: int) -> None:
        self._key = f"openid:{hashlib.sha256(id_token.encode()).hexdigest()}"
        self._seconds = max(1, int(expires_at - time.time()) + 2 * openid.SKEW_SECONDS)

    def __enter__(self) -> None:
        try:
            is_first = cache.add(self._key, 1, self._seconds)
        except Exception as away:
            raise openid.ProviderUnreachable(
                "Log-ins cannot be counted right now. Try again in a moment.", headers={"Retry-After": "5"}
            ) from away
        if not is_first:
            raise openid.ProviderRefused("This id_token was used before. Begin anew.")

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is not None:
            cache.delete(self._key)
