"""Keep an account's log-ins to registries of images, and find the one that an image takes."""

from __future__ import annotations

from django.db import transaction

from accounts.choices import Role
from accounts.models import Account, RegistryLogin, User
from accounts.services.authority import locked, require_open, require_role
from gaas.audit.services import record
from gaas.lib.sealed import seal


def set_registry_login(*, account: Account, server: str, username: str, password: str, by: User) -> RegistryLogin:
    """Keep a log-in, in the place of the one for the same registry. Raises NotAllowed below a manager.

    Whoever offers a host that runs such a task is handed it: give one that can do nothing but pull.
    """
    require_role(account, by, Role.MANAGER, "Keeping a registry's log-in")
    with transaction.atomic():
        here = locked(account)[0]
        require_open(here)
        made, _ = RegistryLogin.objects.update_or_create(
            account=here,
            server=server,
            defaults={"username": username, "password": seal(password, purpose="registry")},
        )
        record(action="account.set_registry_login", obj=here, by=by, after={"server": server, "username": username})
    return made


def remove_registry_login(*, login: RegistryLogin, by: User) -> None:
    """Forget a log-in. Raises NotAllowed below a manager."""
    require_role(login.account, by, Role.MANAGER, "Removing a registry's log-in")
    with transaction.atomic():
        here = locked(login.account)[0]
        RegistryLogin.objects.filter(pk=login.pk).delete()
        before = {"server": login.server, "username": login.username}
        record(action="account.remove_registry_login", obj=here, by=by, before=before)


def registry_login(*, account: Account, server: str) -> dict[str, str] | None:
    """Give the nearest log-in for a registry, of the account or of one above it, with its password.

    For the host that is to run a task, and nobody else. Raises Unsealable.
    """
    lineage = [account.pk, *reversed(account.ancestor_ids)]
    found = {row.account_id: row for row in RegistryLogin.objects.filter(account__in=lineage, server=server)}
    nearest = next((found[pk] for pk in lineage if pk in found), None)
    if nearest is None or nearest.password is None:
        return None
    return {"server": server, "username": nearest.username, "password": nearest.password.open()}
