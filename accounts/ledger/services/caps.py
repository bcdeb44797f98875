"""Open caps and change their limits."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db.models import F
from django.db.models.functions import Greatest, Now

from accounts.ledger.choices import LIMIT
from accounts.ledger.models import Cap, Hold, HoldCap
from accounts.ledger.services.errors import InvalidAmount
from gaas.lib.retry import retried


def open_cap(
    *, asset: str, owner_key: str, starts_at: datetime, ends_at: datetime, limit: int, period: str = ""
) -> Cap:
    """Give the owner's cap for the period that starts then, made now if there is none; `limit` counts only then."""
    same = Cap.objects.filter(asset_id=asset, owner_key=owner_key, period=period, starts_at=starts_at)
    cap = same.first()
    if cap is None:
        made = Cap(
            asset_id=asset,
            owner_key=owner_key,
            period=period,
            starts_at=starts_at,
            ends_at=ends_at,
            wanted=_checked(limit),
            limit=limit,
        )
        Cap.objects.bulk_create([made], ignore_conflicts=True)
        cap = same.get()
    return cap


def set_limit(*, cap: Cap, limit: int) -> Cap:
    """Raise or lower a limit, down to what the period has used already.

    Raises InvalidAmount below that.
    """
    rows = Cap.objects.filter(pk=cap.pk)
    if not rows.filter(used__lte=_checked(limit)).update(wanted=limit, limit=limit, updated_at=Now()):
        raise InvalidAmount("More than that is used in this period already; the limit can go down to what is used.")
    return rows.get()


@retried
def tighten(*, cap: Cap, limit: int, spenders: Collection[str] = ()) -> Cap:
    """Let nothing more be held beyond `limit`, however much of it is used already.

    Also counts what these spenders held in the period before the cap stood or while it was lifted. The caller
    keeps new holds of theirs away until it has committed. Locks: those holds by ascending id → cap.
    """
    missed = Hold.objects.filter(
        spender__in=spenders,
        balance__asset=cap.asset_id,
        created_at__gte=cap.starts_at,
        created_at__lt=cap.ends_at,
    ).exclude(hold_caps__cap=cap)
    # A hold that is released meanwhile must either be seen so here or see that it counts.
    holds = list(missed.select_for_update(no_key=True, of=("self",)).order_by("pk")) if spenders else []
    HoldCap.objects.bulk_create([HoldCap(hold=hold, cap=cap) for hold in holds])
    counted = sum(hold.amount - hold.released for hold in holds)
    rows = Cap.objects.filter(pk=cap.pk)
    rows.update(
        wanted=_checked(limit),
        limit=Greatest(limit, F("used") + counted),
        used=F("used") + counted,
        updated_at=Now(),
    )
    return rows.get()


def _checked(limit: int) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit <= LIMIT:
        raise InvalidAmount(f"A limit is a whole number from 0 to {LIMIT}.")
    return limit
