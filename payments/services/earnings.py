"""Owners' earnings: pending for a while, then theirs to take out."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Sum

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
    pending = Balance.objects.filter(asset="USD", kind=PENDING, posted__gt=0).order_by("pk")
    moved, last = 0, None
    while batch := list((pending if last is None else pending.filter(pk__gt=last))[:BATCH]):
        moved += sum(_moves(balance.pk, now) for balance in batch)
        last = batch[-1].pk
    return moved


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
    since = now - timedelta(seconds=settings.EARNINGS_DELAY_SECONDS)
    young = Transfer.objects.filter(credit_id=balance_id, created_at__gte=since).aggregate(sum=Sum("amount"))["sum"]
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
