"""Owners' earnings: pending for a while, then theirs to take out."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import BigIntegerField, F, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce

from accounts.ledger.models import Balance, Transfer
from accounts.ledger.services import open_balance, transfer
from gaas.lib.errors import DomainError
from gaas.lib.ids import uuid7
from gaas.lib.retry import retried

log = logging.getLogger("app")

PENDING, EARNINGS = "earnings_pending", "earnings"
BATCH = 200


def mature_all(*, now: datetime) -> int:
    """Let everybody's earnings mature that are old enough; give for how many accounts something moved."""
    pending = due_balances(now=now).order_by("pk")
    moved, last = 0, None
    while batch := list((pending if last is None else pending.filter(pk__gt=last))[:BATCH]):
        moved += sum(_moves(balance.pk, now) for balance in batch)
        last = batch[-1].pk
    return moved


def due_balances(*, now: datetime) -> QuerySet[Balance]:
    """Keep pending balances with more than what came in too lately: one question, and nobody else is touched."""
    young = (
        Transfer.objects.filter(credit=OuterRef("pk"), created_at__gte=_since(now))
        .order_by()
        .values("credit")
        .annotate(sum=Sum("amount"))
        .values("sum")
    )
    pending = Balance.objects.filter(asset="USD", kind=PENDING, posted__gt=0)
    return pending.annotate(young=Coalesce(Subquery(young), Value(0), output_field=BigIntegerField())).filter(
        posted__gt=F("young")
    )


def _moves(balance_id: UUID, now: datetime) -> bool:
    """Let one owner's trouble, such as frozen earnings, be theirs."""
    try:
        return bool(mature(balance_id=balance_id, now=now))
    except DomainError as refusal:
        log.warning("earnings of balance %s do not mature: %s", balance_id, refusal.detail)
        return False


@retried
def mature(*, balance_id: UUID, now: datetime) -> int:
    """Move to `earnings` what one owner earned more than EARNINGS_DELAY_SECONDS ago; give how much.

    What is younger stays, and what was taken out of the balance counts against the oldest. Worked out anew from
    what is there, under the balance's lock: so it may be called at any time, twice at once, after any jump of a clock.
    """
    balance = Balance.objects.select_for_update(no_key=True, of=("self",)).get(pk=balance_id)
    young = Transfer.objects.filter(credit_id=balance_id, created_at__gte=_since(now)).aggregate(sum=Sum("amount"))[
        "sum"
    ]
    amount = min((balance.posted or 0) - int(young or 0), 0 if balance.frozen_out else balance.available)
    if amount <= 0:
        return 0
    transfer(
        key=f"matured:{balance_id}:{uuid7()}",
        kind="matured",
        debit=balance,
        credit=open_balance(asset="USD", kind=EARNINGS, owner_key=balance.owner_key),
        amount=amount,
    )
    return amount


def _since(now: datetime) -> datetime:
    return now - timedelta(seconds=settings.EARNINGS_DELAY_SECONDS)
