"""Bodies of payouts and of the places they go to, in and out."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from gaas.lib.rest.fields import TextField, UsdField
from gaas.lib.rest.serializers import StrictSerializer
from payments.choices import PayoutStatus, Provider
from payments.models import Payout, PayoutDestination


class DestinationCreateSerializer(StrictSerializer):
    kind = serializers.ChoiceField(choices=Provider.choices)
    detail = TextField(
        max_length=140,
        help_text="stripe: a connected account (acct_…). onchain: an address with its EIP-55 capitals. "
        "manual: the bank's account and whose it is.",
    )
    label = TextField(max_length=60, allow_blank=True, default="", help_text="What you call it.")
    account = serializers.UUIDField(required=False, help_text="Whose earnings; the caller's own by default.")
    replaces = serializers.UUIDField(required=False, help_text="The destination that goes out of use by this.")


class DestinationSerializer(serializers.Serializer):
    """Show a destination: whole to its owners and to staff who pay, else enough of it to tell it from another."""

    id = serializers.UUIDField()
    account = serializers.UUIDField(source="account_id")
    kind = serializers.ChoiceField(choices=Provider.choices)
    detail = serializers.SerializerMethodField()
    label = serializers.CharField()
    usable_at = serializers.DateTimeField(help_text="Payouts there can be asked for from then on.")
    replaces = serializers.UUIDField(source="replaces_id", allow_null=True)
    retired_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()

    def get_detail(self, destination: PayoutDestination) -> str:
        shown_whole = self.context.get("shown_whole")
        return destination.detail if shown_whole is not None and shown_whole(destination) else destination.shown


class PayoutCreateSerializer(StrictSerializer):
    amount_usd = UsdField(help_text="Of the earnings; the fee is taken from it.")
    destination = serializers.UUIDField()


class PayoutRejectSerializer(StrictSerializer):
    reason = TextField(max_length=2000, lines=True)


class PayoutEventSerializer(serializers.Serializer):
    from_status = serializers.CharField()
    to_status = serializers.CharField()
    by = serializers.CharField(source="by_label")
    reason = serializers.CharField()
    at = serializers.DateTimeField()


class PayoutSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    account = serializers.UUIDField(source="account_id")
    destination = serializers.UUIDField(source="destination_id")
    sent_to = serializers.CharField(source="destination.shown", help_text="Enough of it to tell it from another.")
    provider = serializers.ChoiceField(choices=Provider.choices)
    status = serializers.ChoiceField(choices=PayoutStatus.choices)
    amount_usd = UsdField(source="amount")
    amount_microusd = serializers.IntegerField(source="amount")
    fee_usd = UsdField(source="fee")
    net_usd = UsdField(source="net", help_text="What is sent.")
    returned_usd = UsdField(source="returned")
    reference = serializers.CharField()
    confirmations = serializers.IntegerField(help_text="On a chain: how deep it lies.")
    failure = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()
    approved_at = serializers.DateTimeField(allow_null=True)
    paid_at = serializers.DateTimeField(allow_null=True)

    @extend_schema_field({"type": "object", "nullable": True, "additionalProperties": {"type": "string"}})
    def get_failure(self, payout: Payout) -> dict[str, Any] | None:
        if not payout.failure_code:
            return None
        return {"code": payout.failure_code, "detail": payout.failure_detail}


class PayoutDetailSerializer(PayoutSerializer):
    events = PayoutEventSerializer(many=True)
