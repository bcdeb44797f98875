"""Who is written to about an account."""

from __future__ import annotations

from accounts.choices import Role
from accounts.models import Account, User


def people_of(account: Account, least: Role) -> list[User]:
    """List the active people with at least a role in an account; where it has none, of the nearest above that has."""
    for pk in (account.pk, *reversed(account.ancestor_ids)):
        found = User.objects.filter(memberships__account=pk, memberships__role__in=least.and_above, is_active=True)
        if people := list(found.distinct().order_by("pk")):
            return people
    return []
