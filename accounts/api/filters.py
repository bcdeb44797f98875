"""What lists of this app can be narrowed by."""

from __future__ import annotations

import django_filters

from accounts.choices import AccountKind, QuotaRequestStatus
from accounts.ledger.models import Transfer
from accounts.models import Account, QuotaRequest
from gaas.lib.rest.filters import StrictFilterSet


class AccountFilter(StrictFilterSet):
    kind = django_filters.ChoiceFilter(choices=AccountKind.choices)
    parent = django_filters.UUIDFilter(field_name="parent_id")

    class Meta:
        model = Account
        fields: list[str] = []


class QuotaRequestFilter(StrictFilterSet):
    status = django_filters.ChoiceFilter(choices=QuotaRequestStatus.choices)
    account = django_filters.UUIDFilter(field_name="account_id")

    class Meta:
        model = QuotaRequest
        fields: list[str] = []


class TransferFilter(StrictFilterSet):
    asset = django_filters.CharFilter(field_name="asset_id")

    class Meta:
        model = Transfer
        fields = ["kind", "ref"]
