"""Changes of one's own second factors, on pages and in apps: each commits with what is recorded and told of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db import transaction

from accounts.models import User
from accounts.services import notices
from accounts.services.register import check_verified
from gaas.audit.services import record
from gaas.lib.errors import Conflict

WHERE = "/accounts/2fa/"
CODES = Authenticator.Type.RECOVERY_CODES
ADDED = {
    Authenticator.Type.TOTP: "totp_activated",
    Authenticator.Type.WEBAUTHN: "webauthn_added",
    CODES: "recovery_codes_generated",
}
GONE = {
    Authenticator.Type.TOTP: "totp_deactivated",
    Authenticator.Type.WEBAUTHN: "webauthn_removed",
    CODES: "recovery_codes_removed",
}
LETTERS = {
    "totp_activated": "An authenticator app was set up for your account",
    "totp_deactivated": "The authenticator app was taken off your account",
    "webauthn_added": "A security key was added to your account",
    "webauthn_removed": "A security key was taken off your account",
    "recovery_codes_generated": "New recovery codes were made for your account",
}


class LastSecondFactor(Conflict):
    """Refuse to leave one of the staff without a second factor where STAFF_MFA asks for it."""

    code = "last_second_factor"


def check_may_add(user: User) -> None:
    """Raise EmailNotVerified for an address that nobody confirmed: who registered it may be a stranger.

    With a second factor of theirs the owner of the address would never get in.
    """
    check_verified(user, is_needed=True)


def is_last_kept(user: User) -> bool:
    """Tell whether there is one second factor left, which STAFF_MFA keeps on this person."""
    return _is_needed(user) and Authenticator.objects.filter(user=user).exclude(type=CODES).count() == 1


def check_may_take_off(user: User) -> None:
    """Raise LastSecondFactor where the one that is left has to stay."""
    if is_last_kept(user):
        raise _last()


@contextmanager
def changing(*, user: Any, now: datetime) -> Iterator[None]:
    """Let the block change a user's second factors, in one transaction with what is recorded and told of it.

    1. Lock the user, so that of two parallel changes the second sees what the first left.
    2. Note what there is, and let the block change it.
    3. Refuse what may not be: EmailNotVerified, LastSecondFactor.
    4. Record each difference, and write to the user of those that open or close a way in.
    """
    with transaction.atomic():
        user = User.objects.select_for_update(no_key=True).get(pk=user.pk)
        before = _stored(user)
        yield
        after = _stored(user)
        changes = _changes(before, after)
        if any(action in {"totp_activated", "webauthn_added"} for action, _, _ in changes):
            check_may_add(user)
        if before and not after and _is_needed(user):
            raise _last()
        for action, old, new in changes:
            record(action=f"second_factor.{action}", obj=user, by=user, before=old, after=new, now=now)
        told = {action for action, _, _ in changes if action in LETTERS}
        if len(told) > 1:
            told.discard("recovery_codes_generated")  # which came with the first factor
        for action in sorted(told):
            notices.tell(user=user, what=LETTERS[action], where=WHERE, now=now)


def _is_needed(user: User) -> bool:
    return settings.STAFF_MFA and user.is_staff


def _last() -> LastSecondFactor:
    return LastSecondFactor("Staff log in with a second factor here: set up another one before you take this one off.")


def _stored(user: User) -> dict[int, tuple[str, str]]:
    """Give the kind and name of each, by id."""
    rows = Authenticator.objects.filter(user=user).order_by("pk")
    return {row.pk: (row.type, str(row.data.get("name", ""))) for row in rows}


def _changes(
    before: dict[int, tuple[str, str]], after: dict[int, tuple[str, str]]
) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name each difference, with what was and what is."""
    gone, added = before.keys() - after.keys(), after.keys() - before.keys()
    found: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    anew = {after[pk][0] for pk in added}
    for pk in sorted(gone):
        kind, name = before[pk]
        if kind != CODES or CODES not in anew:  # codes are made anew by replacing the row
            found.append((GONE[kind], _said(pk, name), {}))
    for pk in sorted(added):
        kind, name = after[pk]
        found.append((ADDED[kind], {}, _said(pk, name)))
    for pk in sorted(before.keys() & after.keys()):
        if before[pk] != after[pk]:
            found.append(("webauthn_renamed", _said(pk, before[pk][1]), _said(pk, after[pk][1])))
    return found


def _said(pk: int, name: str) -> dict[str, Any]:
    return {"authenticator": pk, "name": name} if name else {"authenticator": pk}
