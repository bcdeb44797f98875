"""Questions about many rows of the ledger."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import F, Q, Sum, Value
from django.db.models.lookups import GreaterThanOrEqual

from accounts.ledger.choices import LIMIT, HoldState


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


class HoldQuerySet(models.QuerySet):
    def open(self) -> HoldQuerySet:
        return self.filter(state=HoldState.OPEN)

    def due(self, *, now: datetime) -> HoldQuerySet:
        """Keep open holds whose time has run out, oldest first."""
        return self.open().filter(expires_at__lte=now).order_by("expires_at")
