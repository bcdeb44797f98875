"""What lists of this app can be narrowed by."""

from __future__ import annotations

import django_filters

from gaas.lib.rest.filters import StrictFilterSet
from payments.choices import PaymentStatus, Provider
from payments.models import Payment


class PaymentFilter(StrictFilterSet):
    status = django_filters.ChoiceFilter(choices=PaymentStatus.choices)
    provider = django_filters.ChoiceFilter(choices=Provider.choices)
    account = django_filters.UUIDFilter(field_name="account_id")

    class Meta:
        model = Payment
        fields: list[str] = []
