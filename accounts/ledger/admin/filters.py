"""Filters of the books that an index answers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from accounts.ledger.choices import BalanceKind
from gaas.lib import clock
from gaas.lib.ids import first_of

SPANS = {"hour": ("Last hour", timedelta(hours=1)), "day": ("Last day", timedelta(days=1))}
SPANS |= {"week": ("Last 7 days", timedelta(days=7)), "month": ("Last 31 days", timedelta(days=31))}


class MadeFilter(SimpleListFilter):
    """Keep rows made since a moment: their ids begin with it."""

    title = "made"
    parameter_name = "made"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, words) for name, (words, _) in SPANS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        span = SPANS.get(self.value() or "")
        return queryset if span is None else queryset.filter(pk__gte=first_of(clock.now() - span[1]))


class KindFilter(SimpleListFilter):
    title = "kind"
    parameter_name = "of"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(BalanceKind.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(kind=self.value()) if self.value() else queryset


class FrozenFilter(SimpleListFilter):
    title = "frozen"
    parameter_name = "frozen"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Frozen")]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(Q(frozen_in=True) | Q(frozen_out=True)) if self.value() == "yes" else queryset
