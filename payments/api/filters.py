"""What lists of this app can be narrowed by."""

from __future__ import annotations

import re
from datetime import date
from typing import Any
from uuid import UUID

import django_filters
from django import forms
from django.db.models import Q, QuerySet

from gaas.lib.rest.filters import StrictBooleanFilter, StrictFilterSet
from payments.choices import ContractKind, ContractStatus, PaymentStatus, PayoutStatus, Provider, StatementKind
from payments.models import Contract, Payment, Payout, PayoutDestination, Statement


class PaymentFilter(StrictFilterSet):
    status = django_filters.ChoiceFilter(choices=PaymentStatus.choices)
    provider = django_filters.ChoiceFilter(choices=Provider.choices)
    account = django_filters.UUIDFilter(field_name="account_id")

    class Meta:
        model = Payment
        fields: list[str] = []


class _MonthField(forms.RegexField):
    def __init__(self, **kwargs: object) -> None:
        kwargs.setdefault("error_messages", {"invalid": "Give a month such as 2026-10."})
        super().__init__(re.compile(r"(?!0000)[0-9]{4}-(0[1-9]|1[0-2])\Z", re.ASCII), **kwargs)

    def clean(self, value: object) -> date | None:
        text = super().clean(value)
        return date.fromisoformat(f"{text}-01") if text not in self.empty_values else None


class MonthFilter(django_filters.Filter):
    """Take a month, compare its first day."""

    field_class = _MonthField


class StatementFilter(StrictFilterSet):
    account = django_filters.UUIDFilter(field_name="account_id")
    kind = django_filters.ChoiceFilter(choices=StatementKind.choices)
    month = MonthFilter(help_text="Such as 2026-10.")

    class Meta:
        model = Statement
        fields: list[str] = []


class PayoutFilter(StrictFilterSet):
    status = django_filters.ChoiceFilter(choices=PayoutStatus.choices)
    provider = django_filters.ChoiceFilter(choices=Provider.choices)
    account = django_filters.UUIDFilter(field_name="account_id")

    class Meta:
        model = Payout
        fields: list[str] = []


class PayoutDestinationFilter(StrictFilterSet):
    kind = django_filters.ChoiceFilter(choices=Provider.choices)
    account = django_filters.UUIDFilter(field_name="account_id")
    in_use = StrictBooleanFilter(field_name="retired_at", lookup_expr="isnull")

    class Meta:
        model = PayoutDestination
        fields: list[str] = []


class ContractFilter(StrictFilterSet):
    status = django_filters.ChoiceFilter(choices=ContractStatus.choices)
    kind = django_filters.ChoiceFilter(choices=ContractKind.choices)
    account = django_filters.UUIDFilter(method="of_account", help_text="On either side.")

    class Meta:
        model = Contract
        fields: list[str] = []

    def of_account(self, rows: QuerySet[Any], name: str, value: UUID) -> QuerySet[Any]:
        return rows.filter(Q(payer=value) | Q(payee=value))
