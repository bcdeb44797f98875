"""What an account earned: pending, free, held and paid out, as its owners see it. Micro-dollars."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import F, Q, Sum
from django.db.models.functions import TruncDate, TruncMonth

from accounts.ledger.models import Balance, Transfer
from accounts.models import Account
from payments.choices import PAYOUT_SENT
from payments.models import Payout
from payments.services.debts import owed_by
from payments.services.earnings import EARNINGS, PENDING

MONTHS = 12
# What enters the two balances and was not earned by it.
_NOT_EARNED = ("matured", "payout_returned", "reversal")


@dataclass(frozen=True)
class Earned:
    """`due` is old enough and moves with the next job; `maturing` tells what becomes free on which day after it."""

    pending: int
    due: int
    available: int
    held: int
    paid_out: int
    owed: int
    is_frozen: bool
    maturing: list[tuple[date, int]]
    months: list[tuple[date, int]]  # the last twelve, the oldest first


def earned_by(*, account: Account, now: datetime) -> Earned:
    """Give what an account's earnings look like, in six queries whatever their number; opens no balance."""
    rows = Balance.objects.filter(asset="USD", kind__in=(PENDING, EARNINGS), owner_key=account.owner_key)
    found: dict[str, Balance] = {row.kind: row for row in rows}
    pending, free = found.get(PENDING), found.get(EARNINGS)
    posted = (pending.posted or 0) if pending is not None else 0
    maturing = _maturing(pending, now) if posted else []
    young = sum(amount for _, amount in maturing)
    return Earned(
        pending=posted,
        due=max(0, posted - young),
        available=free.available if free is not None else 0,
        held=free.held if free is not None else 0,
        paid_out=_paid_out(account),
        owed=owed_by(account),
        is_frozen=bool(free is not None and free.frozen_out),
        maturing=maturing,
        months=_months(list(found.values()), now),
    )


def _maturing(pending: Balance | None, now: datetime) -> list[tuple[date, int]]:
    delay = timedelta(seconds=settings.EARNINGS_DELAY_SECONDS)
    came = Transfer.objects.filter(credit=pending, created_at__gte=now - delay)
    days: Any = (
        came.annotate(day=TruncDate("created_at", tzinfo=UTC)).values("day").annotate(sum=Sum("amount")).order_by("day")
    )
    # Rounded up: what came at noon is free at noon.
    return [(row["day"] + delay, row["sum"]) for row in days]


def _paid_out(account: Account) -> int:
    sent = Payout.objects.filter(account=account, status__in=sorted(PAYOUT_SENT))
    return int(sent.aggregate(sum=Sum(F("amount") - F("returned")))["sum"] or 0)


def _months(balances: list[Balance], now: datetime) -> list[tuple[date, int]]:
    first = date(now.year, now.month, 1)
    months = [first]
    while len(months) < MONTHS:
        months.append((months[-1] - timedelta(days=1)).replace(day=1))
    months.reverse()
    begin = datetime(months[0].year, months[0].month, 1, tzinfo=UTC)
    earned = Transfer.objects.filter(credit__in=balances, created_at__gte=begin).filter(~Q(kind__in=_NOT_EARNED))
    sums: Any = (
        earned.annotate(month=TruncMonth("created_at", tzinfo=UTC))
        .values("month")
        .annotate(sum=Sum("amount"))
        .order_by()
    )
    by_month = {row["month"].date(): row["sum"] for row in sums} if balances else {}
    return [(month, by_month.get(month, 0)) for month in months]
