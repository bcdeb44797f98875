"""Transfers of months that have passed, for tests of statements."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from django.db.models import F

from accounts.ledger.models import Balance, Transfer
from accounts.ledger.services import open_balance
from accounts.models import Account
from gaas.lib.ids import first_of
from payments.models import Statement

OCTOBER, NOVEMBER = datetime(2025, 10, 1, tzinfo=UTC), datetime(2025, 11, 1, tzinfo=UTC)
INSTANT = timedelta(milliseconds=1)  # no finer on SQLite


def moved(debit: Balance, credit: Balance, amount: int, at: datetime, kind: str = "gift", **fields) -> Transfer:
    """Book a transfer at a moment that has passed, as the ledger would have had it then."""
    key = f"test:{uuid4()}"
    row = Transfer(
        id=UUID(int=first_of(at).int | uuid4().int >> 66),
        key=key,
        kind=kind,
        asset_id=debit.asset_id,
        debit=debit,
        credit=credit,
        amount=amount,
        created_at=at,
        effective_at=at,
        **fields,
    )
    Transfer.objects.bulk_create([row])
    Balance.objects.stored().filter(pk=debit.pk).update(posted=F("posted") - amount)
    Balance.objects.stored().filter(pk=credit.pk).update(posted=F("posted") + amount)
    return row


def purse(account: Account, kind: str = "wallet", asset: str = "USD") -> Balance:
    return open_balance(asset=asset, kind=kind, owner_key=account.owner_key, floor=None)


def of(account: Account, month: datetime = OCTOBER, kind: str = "account") -> Statement:
    return Statement.objects.get(account=account, kind=kind, month=month.date())


def sums(statement: Statement, kind: str = "wallet") -> tuple[int, int, int, int]:
    row = statement.balances.get(kind=kind)
    return row.opening, row.came, row.went, row.closing
