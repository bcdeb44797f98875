"""Bodies of payments and refunds, in and out."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from gaas.lib.rest.fields import TextField, UsdField
from gaas.lib.rest.serializers import StrictSerializer
from payments.choices import PaymentStatus, Provider, RefundStatus
from payments.models import Payment


class PaymentCreateSerializer(StrictSerializer):
    provider = serializers.ChoiceField(choices=Provider.choices)
    amount_usd = UsdField()
    method = TextField(
        max_length=40,
        allow_blank=True,
        default="",
        help_text="stripe: checkout (a page of Stripe's, the default) or intent (for a form of one's own).",
    )
    account = serializers.UUIDField(required=False, help_text="Into whose wallet; the caller's own by default.")


class TransactionSerializer(StrictSerializer):
    tx_hash = TextField(max_length=80)


class ChainSerializer(serializers.Serializer):
    """Show how far a payment on a chain is."""

    tx_hash = serializers.CharField()
    confirmations = serializers.IntegerField()
    problem = serializers.CharField()


class RefundCreateSerializer(StrictSerializer):
    amount_usd = UsdField(required=False, help_text="All that can be sent back by default.")
    reason = TextField(max_length=2000, lines=True)


class RefundSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    amount_usd = UsdField(source="amount")
    amount_microusd = serializers.IntegerField(source="amount")
    reason = serializers.CharField()
    status = serializers.ChoiceField(choices=RefundStatus.choices)
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)


class PaymentEventSerializer(serializers.Serializer):
    subject = serializers.CharField()
    from_status = serializers.CharField()
    to_status = serializers.CharField()
    by = serializers.CharField(source="by_label")
    reason = serializers.CharField()
    at = serializers.DateTimeField()


class PaymentSerializer(serializers.Serializer):
    """Show a payment; `instructions` say what the payer has to do, as the provider gave them."""

    id = serializers.UUIDField()
    account = serializers.UUIDField(source="account_id")
    provider = serializers.ChoiceField(choices=Provider.choices)
    status = serializers.ChoiceField(choices=PaymentStatus.choices)
    amount_usd = UsdField(source="amount")
    amount_microusd = serializers.IntegerField(source="amount")
    received_usd = UsdField(source="received")
    refunded_usd = UsdField(source="refunded")
    disputed_usd = UsdField(source="disputed")
    reference = serializers.CharField()
    instructions = serializers.SerializerMethodField()
    failure = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    paid_at = serializers.DateTimeField(allow_null=True)

    @extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}})
    def get_instructions(self, payment: Payment) -> dict[str, Any]:
        """Leave out the provider's secret, by which a payment is completed, for all but who began it."""
        request = self.context.get("request")
        is_own = request is not None and request.user.pk == payment.created_by_id
        return {name: told for name, told in payment.instructions.items() if is_own or name != "client_secret"}

    @extend_schema_field({"type": "object", "nullable": True, "additionalProperties": {"type": "string"}})
    def get_failure(self, payment: Payment) -> dict[str, Any] | None:
        if not payment.failure_code:
            return None
        return {"code": payment.failure_code, "detail": payment.failure_detail}


class PaymentDetailSerializer(PaymentSerializer):
    chain = serializers.SerializerMethodField(help_text="How far a payment on a chain is; null for others.")
    refunds = RefundSerializer(many=True)
    events = PaymentEventSerializer(many=True)

    @extend_schema_field(ChainSerializer(allow_null=True))
    def get_chain(self, payment: Payment) -> dict[str, Any] | None:
        intent = getattr(payment, "chain", None)
        return None if intent is None else dict(ChainSerializer(intent).data)
