"""System checks of this app's settings."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import Error, register

from accounts.services.hours import MAX_GRANT_MS
from gaas.lib.amounts import NotExact, hours_to_ms, parse_micro

REGISTRATION = ("open", "invite", "domains", "closed")


@register()
def check_registration(**_: Any) -> list[Error]:
    if settings.REGISTRATION in REGISTRATION:
        return []
    return [
        Error(
            f"REGISTRATION is {settings.REGISTRATION!r}.",
            hint=f"Set one of: {', '.join(REGISTRATION)}.",
            id="accounts.E001",
        )
    ]


@register()
def check_registration_domains(**_: Any) -> list[Error]:
    if settings.REGISTRATION != "domains" or settings.REGISTRATION_DOMAINS:
        return []
    return [
        Error(
            "REGISTRATION is domains, and REGISTRATION_DOMAINS names none.",
            hint="Name those whose addresses may register, separated by commas, as in example.org,example.com.",
            id="accounts.E004",
        )
    ]


@register()
def check_google(**_: Any) -> list[Error]:
    if bool(settings.GOOGLE_CLIENT_ID) == bool(settings.GOOGLE_CLIENT_SECRET):
        return []
    return [
        Error(
            "Of GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET one is missing.",
            hint="Set both as the console of the provider shows them, or neither.",
            id="accounts.E005",
        )
    ]


@register()
def check_welcome_hours(**_: Any) -> list[Error]:
    try:
        if hours_to_ms(parse_micro(settings.WELCOME_HOURS)) <= MAX_GRANT_MS:
            return []
    except NotExact:
        pass
    return [
        Error(
            f"WELCOME_HOURS is {settings.WELCOME_HOURS!r}.",
            hint='Set a plain decimal from 0 to 1000000 such as "10" or "2.5".',
            id="accounts.E002",
        )
    ]


@register()
def check_hashers(**_: Any) -> list[Error]:
    first = settings.PASSWORD_HASHERS[0] if settings.PASSWORD_HASHERS else ""
    if first.endswith(".PBKDF2PasswordHasher"):
        return []
    return [
        Error(
            "The first of PASSWORD_HASHERS is not PBKDF2 with SHA-256.",
            hint="Put django.contrib.auth.hashers.PBKDF2PasswordHasher first; others are upgraded at log-in.",
            id="accounts.E003",
        )
    ]
