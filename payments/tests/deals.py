"""Contracts for tests, made and brought on by the verbs that make real ones."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from accounts.choices import Role
from accounts.ledger.models import Balance
from accounts.ledger.services import Leg, capture, hold, platform_balance, transfer
from accounts.models import Account, Membership, User
from accounts.services import hours_balance, wallet_balance
from gaas.lib.ids import uuid7
from gpus.models import Host
from payments import services
from payments.models import Contract
from payments.services import ContractWanted, TermsWanted

HOUR = 3_600_000
USD = 1_000_000


def day(text: str) -> datetime:
    """Give noon in UTC of a day."""
    return datetime.fromisoformat(text).replace(hour=12, tzinfo=UTC)


JAN = day("2027-01-01")


def rich(account: Account, *, usd: int = 0, hours: int = 0) -> Account:
    """Put money and hours on an account."""
    for asset, source, balance, amount in (
        ("USD", "clearing:test", wallet_balance(account), usd * USD),
        ("GPU", "grant", hours_balance(account), hours * HOUR),
    ):
        if amount:
            debit = platform_balance(asset=asset, kind=source)
            transfer(key=f"rich:{uuid7()}", kind="gift", debit=debit, credit=balance, amount=amount)
    return account


def a_branch(parent: Account, *members: User, role: Role = Role.OWNER) -> Account:
    """Give an account below another that pays for itself."""
    below = Account.objects.create(name="Branch", parent=parent)
    for user in members:
        Membership.objects.create(account=below, user=user, role=role)
    return below


def an_owner(by: User) -> Account:
    """Give an account of somebody's that offers a GPU to all."""
    from gpus.tests.fleet import a_gpu

    account = Account.objects.create(name="GPU owner")
    Membership.objects.create(account=account, user=by, role=Role.OWNER)
    a_gpu(account)
    return account


def drafted(
    kind: str, payer: Account, payee: Account, *, starts: str, at: datetime, by: User, **changes: Any
) -> Contract:
    """Propose a contract; what is not of its terms is of its schedule."""
    names = ("anchor_on", "interval", "time_zone", "is_draft")
    when = {name: changes.pop(name) for name in names if name in changes}
    terms = {"asset": "GPU", "amount": 10 * HOUR, "price": 20 * USD if kind == "reservation" else 0, **changes}
    wanted = ContractWanted(
        kind=kind, title="Deal", payer=payer, payee=payee, starts_on=date.fromisoformat(starts), **when
    )
    return services.create_contract(wanted, TermsWanted(**terms), by=by, now=at)


def agreed(*args: Any, yes: User, at: datetime, **changes: Any) -> Contract:
    """Propose a contract and have the other side accept it."""
    contract = drafted(*args, at=at, **changes)
    return services.accept_terms(contract_id=contract.pk, version=1, by=yes, now=at)


def bring_on(contract: Contract, now: datetime) -> Contract:
    """Take all steps that are due by a moment."""
    for _ in range(500):
        if not services.tick(contract_id=contract.pk, now=now):
            break
    else:
        raise AssertionError("It never comes to rest.")
    return Contract.objects.get(pk=contract.pk)


def periods(contract: Contract) -> list[tuple[int, str]]:
    return list(contract.periods.order_by("no").values_list("no", "status"))


def bucket(contract: Contract) -> int:
    """Give the reserved hours that are left, in hours."""
    return services.bucket_of(contract).available // HOUR


def has(account: Account, kind: str) -> int:
    """Give what an account has of a kind, in whole hours or dollars."""
    found = Balance.objects.filter(owner_key=account.owner_key, kind=kind).first()
    unit = HOUR if kind == "hours" else USD
    return 0 if found is None or found.posted is None else found.posted // unit


def seen(owner: Account, at: datetime) -> None:
    """Let the owner's hosts have been heard at a moment."""
    Host.objects.filter(account=owner).update(last_sync_at=at)


def used(account: Account, hours: int) -> None:
    """Have a task use hours."""
    key = f"use:{uuid7()}"
    made = hold(balance=hours_balance(account), amount=hours * HOUR, key=key, purpose="test")
    leg = Leg(credit=platform_balance(asset="GPU", kind="used"), amount=hours * HOUR, kind="usage", key=key)
    capture(hold_id=made.pk, legs=[leg], final=True)


def emptied(account: Account) -> UUID:
    """Hold all money of an account; give the hold."""
    purse = wallet_balance(account)
    held: UUID = hold(balance=purse, amount=purse.available, key=f"empty:{account.pk}", purpose="test").pk
    return held
