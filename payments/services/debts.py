"""What an account owes after money was taken back that it had spent. The caller holds the account's lock."""

from __future__ import annotations

from accounts.ledger.models import Balance
from accounts.ledger.services import open_balance, transfer
from accounts.models import Account
from accounts.services.hours import wallet_balance


def debt_of(account: Account) -> Balance:
    """Give the balance of what an account owes: 0, or below it by what is owed."""
    return open_balance(asset="USD", kind="debt", owner_key=account.owner_key, floor=None)


def owed_by(account: Account) -> int:
    """Give what an account owes in micro-dollars; 0 for one that never did."""
    found = Balance.objects.filter(asset="USD", kind="debt", owner_key=account.owner_key).first()
    return max(0, -(found.posted or 0)) if found is not None else 0


def repay_debt(*, account: Account, most: int, key: str, ref: str) -> int:
    """Pay what an account owes out of its wallet, at most `most`; give what was paid."""
    paid = min(owed_by(account), most, _free(wallet_balance(account)))
    if paid > 0:
        debit, credit = wallet_balance(account), debt_of(account)
        transfer(key=key, kind="debt_repaid", debit=debit, credit=credit, amount=paid, ref=ref)
    return paid


def take_back(*, account: Account, amount: int, to: Balance, key: str, kind: str, ref: str) -> dict[str, int]:
    """Take an amount that has left the platform already: from the wallet, then earnings; the rest is owed.

    What is held stays held, and what is frozen stays. Gives what came from "wallet", "earnings" and "debt".
    """
    earnings = open_balance(asset="USD", kind="earnings", owner_key=account.owner_key)
    sources = {"wallet": wallet_balance(account), "earnings": earnings, "debt": debt_of(account)}
    # In the order of all locks; then what is free stays free until it is taken.
    rows = Balance.objects.filter(pk__in=[source.pk for source in sources.values()]).order_by("pk")
    list(rows.select_for_update(no_key=True, of=("self",)))
    parts, left = dict.fromkeys(sources, 0), amount
    for name, source in sources.items():
        part = left if name == "debt" else min(left, _free(source))
        if part:
            transfer(key=f"{key}:{name}", kind=kind, debit=source, credit=to, amount=part, ref=ref)
        parts[name], left = part, left - part
    return parts


def _free(balance: Balance) -> int:
    balance.refresh_from_db()
    return 0 if balance.frozen_out else balance.available
