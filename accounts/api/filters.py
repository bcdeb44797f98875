"""What lists of this app can be narrowed by."""

from __future__ import annotations

from typing import Any

import django_filters

from accounts.choices import AccountKind, QuotaRequestStatus
from accounts.ledger.models import Transfer
from accounts.models import Account, QuotaRequest, User
from gaas.lib.emails import normal_email
from gaas.lib.rest.filters import MomentFilter, StrictBooleanFilter, StrictFilterSet
from gaas.outbox.choices import PING, DeliveryStatus, EventType
from gaas.outbox.models import Webhook, WebhookDelivery


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


class UserFilter(StrictFilterSet):
    email = django_filters.CharFilter(method="of_address", max_length=254, help_text="Whole, in whatever case.")
    verified = StrictBooleanFilter(field_name="email_verified_at", lookup_expr="isnull", exclude=True)
    created_after = MomentFilter(field_name="created_at", lookup_expr="gte")
    created_before = MomentFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = User
        fields = ["is_active", "is_staff"]

    def of_address(self, users: Any, name: str, value: str) -> Any:
        return users.filter(email=normal_email(value))


class WebhookFilter(StrictFilterSet):
    account = django_filters.UUIDFilter(field_name="account_id")
    is_active = StrictBooleanFilter()

    class Meta:
        model = Webhook
        fields: list[str] = []


class DeliveryFilter(StrictFilterSet):
    status = django_filters.ChoiceFilter(choices=DeliveryStatus.choices)
    event = django_filters.ChoiceFilter(choices=[*EventType.choices, (PING, "A trial")])
    event_id = django_filters.UUIDFilter()

    class Meta:
        model = WebhookDelivery
        fields: list[str] = []
