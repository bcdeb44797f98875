"""Write to the owners of an account about its money."""

from __future__ import annotations

from typing import Any

from accounts.choices import Role
from accounts.models import Account
from accounts.services.people import people_of
from gaas.outbox.services.mail import post


def write_to_owners(account: Account, *, subject: str, template: str, context: dict[str, Any], key: str) -> None:
    """Post a letter to each owner, once for a key, in the caller's transaction."""
    for user in people_of(account, Role.OWNER):
        post(
            to=user.email,
            subject=subject,
            template=template,
            context={"account": account.name, **context},
            key=f"{key}:{user.email}",
        )
