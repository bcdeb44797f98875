"""Questions about many rows of the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import F, Q, Sum, Value
from django.db.models.lookups import GreaterThanOrEqual

from accounts.ledger.choices import LIMIT, HoldState


@dataclass(frozen=True)
class Page:
    """Hold some rows, newest first, and the ids at which the pages beside this one begin; None where there is none."""

    rows: list[Any]
    older: UUID | None
    newer: UUID | None


class BalanceQuerySet(models.QuerySet):
    def able_to_spend(self, amount: int) -> BalanceQuerySet:
        """Keep balances from which `amount` more may be held or taken.

        Both sides of the comparison stay within 64 bits, see LIMIT; `posted - held - amount` would not.
        """
        return self.filter(
            Q(floor=None) | Q(GreaterThanOrEqual(F("posted") - F("held"), F("floor") + Value(amount))),
            posted__gte=amount - LIMIT,
            held__lte=LIMIT - amount,
            frozen_out=False,
            closed_at=None,
        )

    def able_to_receive(self, amount: int) -> BalanceQuerySet:
        """Keep balances to which `amount` more may be credited."""
        return self.filter(posted__lte=LIMIT - amount, frozen_in=False, closed_at=None)

    def lazy(self) -> BalanceQuerySet:
        """Keep the platform's balances, whose sum is not stored."""
        return self.filter(posted=None)

    def stored(self) -> BalanceQuerySet:
        return self.exclude(posted=None)


class TransferQuerySet(models.QuerySet):
    def net_of(self, balance_id: object) -> int:
        """Sum what came into a balance less what went out of it."""
        came = self.filter(credit_id=balance_id).aggregate(sum=Sum("amount"))["sum"] or 0
        went = self.filter(debit_id=balance_id).aggregate(sum=Sum("amount"))["sum"] or 0
        return int(came) - int(went)

    def touching(self, balances: models.QuerySet | list) -> TransferQuerySet:
        """Keep transfers into or out of any of these balances."""
        return self.filter(Q(debit__in=balances) | Q(credit__in=balances))

    def legs_beside(self, row: Any) -> TransferQuerySet:
        """Keep the other transfers of a row's group: of a capture by its hold, else by the group's name."""
        if row.hold_id is not None:
            same = self.filter(hold=row.hold_id, group=row.group)
        elif row.group:
            same = self.filter(group=row.group, hold=None)
        else:
            return self.none()
        return same.exclude(pk=row.pk).select_related("asset", "debit", "credit").order_by("pk")

    def page_of(
        self,
        balance_id: UUID,
        *,
        size: int,
        before: UUID | None = None,
        after: UUID | None = None,
        direction: str = "",
    ) -> Page:
        """Give a page of one balance's transfers: older than `before`, or newer than `after`, else the newest.

        `direction` is "in", "out" or "" for both. Each side is read by its own index up to a page and one row, so a
        page costs the same at any depth of any balance.
        """
        sides = {"in": self.filter(credit_id=balance_id), "out": self.filter(debit_id=balance_id)}
        found: list[Any] = []
        for name, side in sides.items():
            if direction in ("", name):
                if after is not None:
                    found += side.filter(pk__gt=after).order_by("pk")[: size + 1]
                else:
                    found += (side if before is None else side.filter(pk__lt=before)).order_by("-pk")[: size + 1]
        found.sort(key=lambda row: row.pk, reverse=after is None)
        rows, has_more = found[:size], len(found) > size
        if after is not None:
            rows.reverse()
            return Page(rows, older=rows[-1].pk if rows else None, newer=rows[0].pk if rows and has_more else None)
        has_newer = before is not None and bool(rows)
        return Page(rows, older=rows[-1].pk if has_more else None, newer=rows[0].pk if has_newer else None)


class HoldQuerySet(models.QuerySet):
    def open(self) -> HoldQuerySet:
        return self.filter(state=HoldState.OPEN)

    def due(self, *, now: datetime) -> HoldQuerySet:
        """Keep open holds whose time has run out, oldest first."""
        return self.open().filter(expires_at__lte=now).order_by("expires_at")
