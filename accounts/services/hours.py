"""Accounts and what the ledger keeps for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts.choices import AccountKind, PaysFrom, Role
from accounts.ledger import services as ledger
from accounts.ledger.models import Balance, Transfer
from accounts.models import Account, Membership, User
from gaas.audit.services import record
from gaas.lib.amounts import MS_PER_HOUR, hours_to_ms, parse_micro, show_hours
from gaas.lib.errors import Conflict, DomainError

# More in one grant is a slip of the hand; it also keeps sums far from the end of 64 bits.
MAX_GRANT_MS = 1_000_000 * MS_PER_HOUR


class PaysFromParent(Conflict):
    """State that hours on this account could never be spent."""

    code = "pays_from_parent"


class TooManyHours(DomainError):
    """State that the hours are not from one GPU-millisecond to a million hours."""

    code = "invalid_hours"


@dataclass(frozen=True)
class AccountBalances:
    """Hold what an account can spend and what is held: GPU-milliseconds and micro-dollars."""

    hours_available: int = 0
    hours_held: int = 0
    wallet_available: int = 0
    wallet_held: int = 0


def open_personal_account(*, user: User) -> Account:
    """Give a user the personal account, ownership of it and, once in a life, the welcome hours."""
    with transaction.atomic():
        account, _ = Account.objects.get_or_create(
            person=user, defaults={"kind": AccountKind.PERSON, "name": user.get_full_name()[:150]}
        )
        Membership.objects.get_or_create(user=user, account=account, defaults={"role": Role.OWNER})
        welcome_ms = hours_to_ms(parse_micro(settings.WELCOME_HOURS))
        if welcome_ms:
            _grant(account=account, gpu_ms=welcome_ms, key=f"welcome:{user.pk}", kind="welcome", memo="Welcome hours")
    return account


def grant_hours(*, account: Account, gpu_ms: int, by: User | None, reason: str, key: str) -> Transfer:
    """Put hours on an account from the platform's grants, and say so in the audit trail.

    The same `key` again grants nothing more and returns the stored transfer. Raises TooManyHours, and
    PaysFromParent for an account whose holds go elsewhere.
    """
    check_hours(gpu_ms)
    check_pays_for_itself(account)
    with transaction.atomic():
        is_new = not Transfer.objects.filter(key=key).exists()
        granted = _grant(
            account=account, gpu_ms=gpu_ms, key=key, kind="grant", memo=reason, actor="" if by is None else str(by.pk)
        )
        if is_new:
            record(
                action="account.grant_hours",
                obj=account,
                by=by,
                after={"gpu_ms": gpu_ms, "hours": show_hours(gpu_ms), "transfer": str(granted.pk)},
                reason=reason,
            )
    return granted


def hours_balance(account: Account) -> Balance:
    """Give the balance of hours that this very account has, made at first use."""
    return ledger.open_balance(asset="GPU", kind="hours", owner_key=account.owner_key)


def wallet_balance(account: Account) -> Balance:
    """Give the balance of money that this very account has, made at first use."""
    return ledger.open_balance(asset="USD", kind="wallet", owner_key=account.owner_key)


def balances_of(account: Account) -> AccountBalances:
    """Tell what an account can spend, which is what its payer has."""
    return balances_of_each([account])[account.pk]


def balances_of_each(accounts: Iterable[Account]) -> dict[UUID, AccountBalances]:
    """Tell for each account what it can spend, in two queries at most, whatever their number."""
    accounts = list(accounts)
    above = {id_ for account in accounts if account.pays_from == PaysFrom.PARENT for id_ in account.ancestor_ids}
    pays_itself = (
        set(Account.objects.paying_for_themselves().filter(pk__in=above).values_list("pk", flat=True))
        if above
        else set()
    )
    payers = {
        account.pk: account.pk
        if account.pays_from == PaysFrom.SELF
        else next(id_ for id_ in reversed(account.ancestor_ids) if id_ in pays_itself)
        for account in accounts
    }
    found: dict[str, dict[str, Balance]] = {}
    keys = {f"acct:{id_}" for id_ in payers.values()}
    for balance in Balance.objects.filter(owner_key__in=keys, kind__in=("hours", "wallet")):
        found.setdefault(balance.owner_key, {})[balance.kind] = balance
    return {pk: _shown(found.get(f"acct:{payer}", {})) for pk, payer in payers.items()}


def check_hours(gpu_ms: int) -> None:
    """Raise TooManyHours unless these are hours that one grant can give."""
    if not 0 < gpu_ms <= MAX_GRANT_MS:
        raise TooManyHours("Give hours above 0 and at most 1000000.", attr="hours")


def check_pays_for_itself(account: Account) -> None:
    """Raise PaysFromParent if hours on this account could never be spent."""
    if account.pays_from == PaysFrom.PARENT:
        raise PaysFromParent(
            f"{account} pays from its parent: put the hours on {account.payer()}, or let it pay for itself.",
            attr="account",
        )


def _grant(*, account: Account, gpu_ms: int, key: str, kind: str, memo: str, actor: str = "") -> Transfer:
    return ledger.transfer(
        key=key,
        kind=kind,
        debit=ledger.platform_balance(asset="GPU", kind="grant"),
        credit=hours_balance(account),
        amount=gpu_ms,
        actor=actor,
        memo=memo[:500],
        ref=account.owner_key,
    )


def _shown(balances: dict[str, Balance]) -> AccountBalances:
    hours, wallet = balances.get("hours"), balances.get("wallet")
    return AccountBalances(
        hours_available=hours.available if hours else 0,
        hours_held=hours.held if hours else 0,
        wallet_available=wallet.available if wallet else 0,
        wallet_held=wallet.held if wallet else 0,
    )
