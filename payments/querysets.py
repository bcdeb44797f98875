"""Questions about many rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from django.db import models

from accounts.models import Account
from payments.choices import PAYMENT_OPEN, REFUND_UNDER_WAY, ReviewStatus


class PaymentQuerySet(models.QuerySet):
    def visible_to(self, user: Any) -> Self:
        """Give payments of accounts that the user belongs to or manages; all to staff who may view payments."""
        if user.has_perm("payments.view_payment"):
            return self.all()
        return self.filter(account__in=Account.objects.of_member(user))

    def overdue(self, *, now: datetime) -> Self:
        """Give what nobody paid in time."""
        return self.filter(status__in=sorted(PAYMENT_OPEN), expires_at__lte=now)

    def to_look_at(self, *, now: datetime) -> Self:
        """Give those about which the provider should be asked."""
        return self.filter(look_at__lte=now)


class RefundQuerySet(models.QuerySet):
    def visible_to(self, user: Any) -> Self:
        """Follow what the user sees of payments."""
        if user.has_perm("payments.view_payment"):
            return self.all()
        return self.filter(payment__account__in=Account.objects.of_member(user))

    def under_way(self) -> Self:
        return self.filter(status__in=sorted(REFUND_UNDER_WAY))


class ReviewQuerySet(models.QuerySet):
    def waiting(self) -> Self:
        return self.filter(status=ReviewStatus.OPEN)
