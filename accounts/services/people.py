"""Who is written to about an account."""

from __future__ import annotations

from uuid import UUID

from accounts.choices import Role
from accounts.models import Account, User


def people_of(account: Account, least: Role) -> list[User]:
    """List the active people with at least a role in an account; where it has none, of the nearest above that has."""
    return _nearest([account.pk, *reversed(account.ancestor_ids)], least)


def people_around(account: Account) -> list[User]:
    """List who manages an account and who manages the one right above it, each as `people_of` finds them and once.

    What an account has was given to it from above, so that those who gave it are told of it as well.
    """
    upwards = [account.pk, *reversed(account.ancestor_ids)]
    return list(dict.fromkeys([*_nearest(upwards, Role.MANAGER), *_nearest(upwards[1:], Role.MANAGER)]))


def _nearest(accounts: list[UUID], least: Role) -> list[User]:
    for pk in accounts:
        found = User.objects.filter(memberships__account=pk, memberships__role__in=least.and_above, is_active=True)
        if people := list(found.distinct().order_by("pk")):
            return people
    return []
