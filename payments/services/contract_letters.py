"""Who may act for a side of a contract, and what both are told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.conf import settings

from accounts.choices import Role
from accounts.models import Account, User
from accounts.services.people import people_of
from gaas.outbox import services as outbox
from payments.choices import Side
from payments.models import Contract

if TYPE_CHECKING:
    from datetime import datetime


def least_role(contract: Contract) -> Role:
    """Give the role that acts for a side: a manager shares what there is, an owner alone pays and is paid."""
    return Role.MANAGER if contract.is_allowance else Role.OWNER


def sides_of(contract: Contract, by: User) -> list[Side]:
    """List the sides for which somebody may say yes: none, one or both."""
    return [side for side in Side if _acts(contract.side(side), by, least_role(contract))]


def _acts(account: Account, by: User, least: Role) -> bool:
    role = account.spending_role_of(by)
    return role is not None and role >= least


def tell(contract: Contract, sides: Iterable[str], *, what: str, detail: str, key: str, now: datetime) -> None:
    """Write to who may act for these sides, once for each `key`, in the caller's transaction."""
    for user, mine in _people(contract, sides):
        outbox.post(
            to=user.email,
            subject=f"{contract}: {what}",
            template="mail/contract.txt",
            context={
                "contract": contract,
                "detail": detail,
                "user": user,
                "mine": mine,
                "base_url": settings.BASE_URL,
                "now": now,
            },
            key=f"{contract.ref}:{key}:{user.pk}",
        )


def _people(contract: Contract, sides: Iterable[str]) -> Iterable[tuple[User, Account]]:
    """List, each once with their side, who acts for these sides."""
    least: Role = least_role(contract)
    found: dict[Any, tuple[User, Account]] = {}
    for side in sides:
        account: Account = contract.side(side)
        for user in people_of(account, least):
            found.setdefault(user.pk, (user, account))
    return found.values()
