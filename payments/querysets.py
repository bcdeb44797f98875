"""Questions about many rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Self

from django.db import models
from django.db.models import Case, Count, F, OuterRef, Q, Subquery, Sum, Value, When
from django.db.models.functions import Substr, TruncMonth

from accounts.models import Account
from payments.choices import (
    CONTRACT_RESTING,
    PAYMENT_OPEN,
    PAYOUT_UNDER_WAY,
    REFUND_UNDER_WAY,
    ContractKind,
    ContractStatus,
    ReviewStatus,
    StatementKind,
)

# What usage can be grouped by, and the column of each.
USAGE_COLUMNS = {
    "account": "account_id",
    "subtree": "subtree",
    "user": "user_id",
    "gpu": "gpu_id",
    "kind": "kind",
    "cost_code": "cost_code",
    "funding": "funding",
    "month": "month",
}
_ID_LENGTH = 36


class ChargeQuerySet(models.QuerySet):
    def visible_to(self, user: Any) -> Self:
        """Keep what was for accounts that the user manages, those below included, and what the user ran elsewhere.

        All to staff who may view charges. The managed accounts are read first: as a list each arm of the OR is
        one range of an index, as a subquery the database would read the charges of everybody.
        """
        if user.has_perm("payments.view_charge"):
            return self.all()
        managed = list(Account.objects.managed_by(user).values_list("pk", flat=True))
        own = Q(user_id=str(user.pk), account_id__in=Account.objects.of_member(user).values("pk"))
        return self.filter(Q(account_id__in=managed) | own)

    def under(self, account: Account) -> Self:
        """Keep what was for an account and everything that stands below it today."""
        return self.filter(account_id__in=Account.objects.under(account).values("pk"))

    def within(self, begin: datetime, end: datetime) -> Self:
        """Keep what was charged from `begin` on and before `end`."""
        return self.filter(at__gte=begin, at__lt=end)

    def usage(self) -> dict[str, int]:
        """Add it all up; see `usage_by` for what is counted."""
        return {name: int(value or 0) for name, value in self.aggregate(**_FIGURES).items()}

    def usage_by(self, *dimensions: str, root: Account | None = None) -> models.QuerySet:
        """Add it up by these of USAGE_COLUMNS, in their order: one row for each group, as a dict.

        `subtree` is the account right below `root` under which it was used, or `root` itself; months are those of
        UTC. `ms` are the GPU-milliseconds that the payer was charged for in hours or in money (none where the
        platform paid), `quota_ms` those of them taken off hours, `reserved_ms` off hours of a contract, `paid`
        micro-dollars.
        """
        rows = self
        if "month" in dimensions:
            rows = rows.annotate(month=TruncMonth("at", tzinfo=UTC))
        if "subtree" in dimensions and root is not None:
            rows = rows.annotate(subtree=_branch(root))
        columns = [USAGE_COLUMNS[name] for name in dimensions]
        return rows.order_by().values(*columns).annotate(**_FIGURES).order_by(*columns)


# What the platform's own fault cost nobody paid but the platform.
_BY_PAYER = Q(from_loss=0)
_FIGURES = {
    "task_count": Count("task_id", distinct=True),
    "ms": Sum("gpu_ms", filter=_BY_PAYER),
    "quota_ms": Sum("gpu_ms", filter=_BY_PAYER & Q(funding="quota")),
    "reserved_ms": Sum("gpu_ms", filter=_BY_PAYER & Q(funding="reserved")),
    "paid": Sum("charge"),
}


def _branch(root: Account) -> Case:
    """Read off an account's path which one right below `root` it is or is under."""
    below = Account.objects.filter(pk=OuterRef("account_id")).annotate(
        branch=Substr("path", len(root.path) + 1, _ID_LENGTH)
    )
    text = models.CharField()
    branch = Subquery(below.values("branch")[:1], output_field=text)
    return Case(When(account_id=root.pk, then=Value(str(root.pk))), default=branch, output_field=text)


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


class ContractQuerySet(models.QuerySet):
    def visible_to(self, user: Any) -> Self:
        """Give contracts of accounts that the user belongs to or manages, on either side."""
        if user.has_perm("payments.view_contract"):
            return self.all()
        mine = Account.objects.of_member(user)
        seen = self.filter(Q(payer__in=mine) | Q(payee__in=mine))
        # A draft is its maker's until it is sent.
        return seen.exclude(Q(status=ContractStatus.DRAFT) & ~Q(created_by=user.pk))

    def due(self, *, now: datetime) -> Self:
        """Give what has something to do, the longest overdue first."""
        return self.filter(due_at__lte=now).order_by("due_at")

    def abandoned(self, *, now: datetime) -> Self:
        """Give what rests while one of its accounts was closed, or moved away: nobody will resume it.

        No row says so, since accounts know nothing of contracts.
        """
        moved = Q(kind=ContractKind.ALLOWANCE) & ~Q(payee__path__startswith=F("payer__path"))
        gone = Q(payer__closed_at__isnull=False) | Q(payee__closed_at__isnull=False) | moved
        # What was put off after a fault waits for its turn.
        waits = Q(faults__gt=0, due_at__gt=now)
        return self.filter(gone, status__in=sorted(CONTRACT_RESTING)).exclude(waits).order_by("pk")


class PayoutQuerySet(models.QuerySet):
    def visible_to(self, user: Any) -> Self:
        """Give payouts of accounts that the user belongs to or manages; all to staff who may view payouts."""
        if user.has_perm("payments.view_payout"):
            return self.all()
        return self.filter(account__in=Account.objects.of_member(user))

    def under_way(self) -> Self:
        return self.filter(status__in=sorted(PAYOUT_UNDER_WAY))

    def due(self, *, now: datetime) -> Self:
        """Give those about which a provider or a chain is to be called or asked."""
        return self.filter(due_at__lte=now)


class PayoutDestinationQuerySet(models.QuerySet):
    def visible_to(self, user: Any) -> Self:
        """Follow what the user sees of payouts."""
        if user.has_perm("payments.view_payoutdestination"):
            return self.all()
        return self.filter(account__in=Account.objects.of_member(user))

    def in_use(self) -> Self:
        """Give those that nobody retired."""
        return self.filter(retired_at=None)


class StatementQuerySet(models.QuerySet):
    def visible_to(self, user: Any) -> Self:
        """Give statements of accounts that the user belongs to or manages; all, and the books, by permission."""
        if user.has_perm("payments.view_statement"):
            return self.all()
        return self.filter(account__in=Account.objects.of_member(user)).exclude(kind=StatementKind.BOOKS)
