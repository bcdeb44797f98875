"""Open caps and change their limits."""

from __future__ import annotations

from datetime import datetime

from django.db.models.functions import Now

from accounts.ledger.choices import LIMIT
from accounts.ledger.models import Cap
from accounts.ledger.services.errors import InvalidAmount


def open_cap(*, asset: str, owner_key: str, starts_at: datetime, ends_at: datetime, limit: int) -> Cap:
    """Give the owner's cap for the period that starts then, made now if there is none; `limit` counts only then."""
    same = Cap.objects.filter(asset_id=asset, owner_key=owner_key, starts_at=starts_at)
    cap = same.first()
    if cap is None:
        made = Cap(asset_id=asset, owner_key=owner_key, starts_at=starts_at, ends_at=ends_at, limit=_checked(limit))
        Cap.objects.bulk_create([made], ignore_conflicts=True)
        cap = same.get()
    return cap


def set_limit(*, cap: Cap, limit: int) -> Cap:
    """Raise or lower a limit, down to what the period has used already.

    Raises InvalidAmount below that.
    """
    rows = Cap.objects.filter(pk=cap.pk)
    if not rows.filter(used__lte=_checked(limit)).update(limit=limit, updated_at=Now()):
        raise InvalidAmount("More than that is used in this period already; the limit can go down to what is used.")
    return rows.get()


def _checked(limit: int) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit <= LIMIT:
        raise InvalidAmount(f"A limit is a whole number from 0 to {LIMIT}.")
    return limit
