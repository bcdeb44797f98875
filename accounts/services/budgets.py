"""Tell people in time that a cap, or what an account was given, runs out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Sum

from accounts.choices import CapPeriod
from accounts.ledger.models import Asset, Balance, Cap, Transfer
from accounts.models import Account, BudgetAlert
from accounts.services.allowances import FUND, RECLAIM
from accounts.services.people import people_around
from gaas.outbox import services as outbox
from gaas.outbox.choices import EventType

PERCENTS = (80, 100)
# Sweeps come each minute; one that stood still for less than this misses nothing.
LOOK_BACK = timedelta(hours=1)


# Kinds of transfers by which an account is given something, and by which that is taken back without being spent.
GIVES, TAKES = {FUND}, {RECLAIM}


def register_gift(*, gives: Iterable[str], takes: Iterable[str]) -> None:
    """Let what an app above gives and takes back count as funding."""
    GIVES.update(gives)
    TAKES.update(takes)


@dataclass(frozen=True)
class Budget:
    """Hold how much of what is used; `key` names the account's budget and its period, `scope` says it in words."""

    account_id: str
    key: str
    scope: str
    asset: Asset
    used: int
    whole: int

    @property
    def passed(self) -> int | None:
        """Give the highest share that is reached, if one is."""
        return max((p for p in PERCENTS if self.used * 100 >= self.whole * p), default=None)


def alert_budgets(*, now: datetime) -> int:
    """Write once a period to who manages an account or its parent when 80 % and 100 % of a budget are used.

    A budget is a cap's period, or what an account had after it was last funded. Holds count as used; what came
    back since does not. Only what moved within LOOK_BACK is looked at. Returns how many alerts were made.
    """
    return sum(_alert(budget, now) for budget in [*_capped(now), *_funded(now)] if budget.passed)


def _capped(now: datetime) -> Iterator[Budget]:
    caps = Cap.objects.filter(
        owner_key__startswith="acct:",
        starts_at__lte=now,
        ends_at__gt=now,
        updated_at__gte=now - LOOK_BACK,
        used__gt=0,
    )
    for cap in caps.select_related("asset"):
        per = "in all" if cap.period == CapPeriod.TOTAL else f"a {cap.period}"
        yield Budget(
            account_id=cap.owner_key.partition(":")[2],
            key=f"cap:{cap.pk}",
            scope=f"cap of {cap.asset.show(cap.wanted)} {per}",
            asset=cap.asset,
            used=cap.used,
            whole=cap.wanted,
        )


def _funded(now: datetime) -> Iterator[Budget]:
    moved = Balance.objects.filter(
        owner_key__startswith="acct:", kind__in=("hours", "wallet"), updated_at__gte=now - LOOK_BACK
    )
    # A transfer's id is a UUIDv7: the greatest is the last one.
    for balance in moved.filter(credits__kind__in=sorted(GIVES)).distinct().select_related("asset"):
        last = Transfer.objects.filter(credit=balance, kind__in=sorted(GIVES)).order_by("-pk").first()
        if last is None:
            continue
        gone = Transfer.objects.filter(debit=balance, pk__gt=last.pk).exclude(kind__in=sorted(TAKES))
        spent = gone.aggregate(sum=Sum("amount"))["sum"] or 0
        whole = int(spent) + (balance.posted or 0)
        if whole:
            yield Budget(
                account_id=balance.owner_key.partition(":")[2],
                key=f"funded:{last.pk}",
                scope=f"{balance.asset.show(whole)} there were after the last funding",
                asset=balance.asset,
                used=int(spent) + balance.held,
                whole=whole,
            )


def _alert(budget: Budget, now: datetime) -> bool:
    percent = budget.passed
    key = f"{budget.key}:{percent}"
    if percent is None or BudgetAlert.objects.filter(key=key).exists():
        return False
    account = Account.objects.filter(pk=budget.account_id).first()
    if account is None:
        return False
    detail = f"{budget.asset.show(budget.used)} of the {budget.scope} are used ({percent} % or more)."
    with transaction.atomic():
        _, is_new = BudgetAlert.objects.get_or_create(
            key=key, defaults={"account": account, "percent": percent, "detail": detail}
        )
        if is_new:
            outbox.tell(
                event=EventType.BUDGET_REACHED,
                account=account,
                data={
                    "percent": percent,
                    "asset": budget.asset.code,
                    "used": budget.used,
                    "of": budget.whole,
                    "detail": detail,
                },
                key=f"budget:{key}",
                now=now,
            )
        for user in people_around(account) if is_new else ():
            outbox.post(
                to=user.email,
                subject=f"{account}: {percent} % of the budget is used",
                template="mail/budget.txt",
                context={"account": account, "detail": detail, "user": user, "base_url": settings.BASE_URL},
                key=f"budget:{key}:{user.pk}",
            )
    return is_new
