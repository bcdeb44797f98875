"""Bodies of contracts, in and out."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from gaas.lib.rest.fields import HoursField, LabelsField, StrictBooleanField, StrictIntegerField, TextField, UsdField
from gaas.lib.rest.serializers import StrictSerializer
from payments import services
from payments.choices import (
    CatchUp,
    ContractKind,
    ContractStatus,
    Interval,
    PeriodStatus,
    Renewal,
    RollOver,
    Shortfall,
)
from payments.models import Contract, ContractPeriod, ContractTerms

ABOUT_HOURS = "What a period gives: of a reservation always hours, of an allowance hours or `amount_usd`."


class TermsProposeSerializer(StrictSerializer):
    """Take terms; what is left out stays as in the last version, if there is one."""

    hours = HoursField(required=False, most=services.MOST, help_text=ABOUT_HOURS)
    amount_usd = UsdField(required=False, most=services.MOST)
    price_usd = UsdField(
        required=False, most=services.MOST, help_text="What a period of a reservation costs, the fee included."
    )
    gpu_model = TextField(required=False, max_length=100, allow_blank=True)
    labels = LabelsField(required=False, help_text="Labels that the host or GPU carries.")
    ends_on = serializers.DateField(required=False, allow_null=True, help_text="No period begins on it or later.")
    renewal = serializers.ChoiceField(required=False, choices=Renewal.choices)
    shortfall = serializers.ChoiceField(required=False, choices=Shortfall.choices)
    roll_over = serializers.ChoiceField(required=False, choices=RollOver.choices)
    catch_up = serializers.ChoiceField(required=False, choices=CatchUp.choices)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if "hours" in data and "amount_usd" in data:
            raise serializers.ValidationError({"amount_usd": "Give `hours` or `amount_usd`, not both."})
        return data

    @property
    def wanted(self) -> dict[str, Any]:
        """Give what was sent, by the names of `TermsWanted`."""
        data = dict(self.validated_data)
        terms = {name: data[name] for name in TERMS if name in data}
        if "hours" in data:
            terms |= {"asset": "GPU", "amount": data["hours"]}
        if "amount_usd" in data:
            terms |= {"asset": "USD", "amount": data["amount_usd"]}
        return terms | ({"price": data["price_usd"]} if "price_usd" in data else {})


TERMS = ("gpu_model", "labels", "ends_on", "renewal", "shortfall", "roll_over", "catch_up")


class ContractCreateSerializer(TermsProposeSerializer):
    kind = serializers.ChoiceField(choices=ContractKind.choices)
    title = TextField(max_length=120)
    payer = serializers.UUIDField(required=False, help_text="The account that gives or pays; the caller's by default.")
    payee = serializers.UUIDField(help_text="An account below the payer, or the account that owns the GPUs.")
    starts_on = serializers.DateField(required=False, help_text="Today in the time zone by default.")
    anchor_on = serializers.DateField(
        required=False, help_text="From which all due days count; `starts_on` by default."
    )
    interval = serializers.ChoiceField(choices=Interval.choices, default=Interval.MONTH)
    time_zone = TextField(max_length=64, default="UTC")
    draft = StrictBooleanField(default=False, help_text="Keep it to oneself until `propose` sends it.")

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        data = super().validate(data)
        if "hours" not in data and "amount_usd" not in data:
            raise serializers.ValidationError({"hours": "Say how much a period gives."}, code="required")
        return data


class TermsAcceptSerializer(StrictSerializer):
    version = StrictIntegerField(min_value=1, max_value=10**6, help_text="The version that was read.")


class TermsDeclineSerializer(StrictSerializer):
    version = StrictIntegerField(min_value=1, max_value=10**6, required=False)
    reason = TextField(max_length=2000, lines=True, default="", allow_blank=True)


class ContractReasonSerializer(StrictSerializer):
    reason = TextField(max_length=2000, lines=True, default="", allow_blank=True)


class TermsSerializer(serializers.Serializer):
    """Show one version of the terms, and who accepted it when."""

    version = serializers.IntegerField()
    hours = serializers.SerializerMethodField()
    amount_usd = serializers.SerializerMethodField()
    price_usd = UsdField(source="price")
    fee_usd = UsdField(source="fee")
    gpu_model = serializers.CharField()
    labels = serializers.DictField(child=serializers.CharField())
    ends_on = serializers.DateField(allow_null=True)
    renewal = serializers.ChoiceField(choices=Renewal.choices)
    shortfall = serializers.ChoiceField(choices=Shortfall.choices)
    roll_over = serializers.ChoiceField(choices=RollOver.choices)
    catch_up = serializers.ChoiceField(choices=CatchUp.choices)
    proposed_by = serializers.CharField(source="proposed_side")
    payer_accepted_at = serializers.DateTimeField(allow_null=True)
    payee_accepted_at = serializers.DateTimeField(allow_null=True)
    declined_at = serializers.DateTimeField(allow_null=True)
    effective_from_period = serializers.IntegerField(source="effective_no", allow_null=True)

    @extend_schema_field(HoursField(allow_null=True))
    def get_hours(self, terms: ContractTerms) -> str | None:
        return HoursField().to_representation(terms.amount) if terms.asset_id == "GPU" else None

    @extend_schema_field(UsdField(allow_null=True))
    def get_amount_usd(self, terms: ContractTerms) -> str | None:
        return UsdField().to_representation(terms.amount) if terms.asset_id == "USD" else None


class ContractSideSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()


class ContractSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=ContractKind.choices)
    title = serializers.CharField()
    status = serializers.ChoiceField(choices=ContractStatus.choices)
    payer = ContractSideSerializer()
    payee = ContractSideSerializer()
    anchor_on = serializers.DateField()
    interval = serializers.ChoiceField(choices=Interval.choices)
    time_zone = serializers.CharField()
    starts_on = serializers.DateField()
    next_period = serializers.IntegerField(source="next_no")
    next_due_at = serializers.DateTimeField(source="next_due", allow_null=True)
    cancelled_from_period = serializers.IntegerField(source="stop_no", allow_null=True)
    trouble = serializers.CharField(help_text="Why the last period could not be paid.")
    retry_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    activated_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)


class ContractEventSerializer(serializers.Serializer):
    from_status = serializers.CharField()
    to_status = serializers.CharField()
    by = serializers.CharField(source="by_label")
    reason = serializers.CharField()
    at = serializers.DateTimeField()


class ContractDetailSerializer(ContractSerializer):
    terms = serializers.SerializerMethodField(help_text="Every version, the newest first.")
    hours_left = serializers.SerializerMethodField(help_text="Reserved hours that can be used; null for an allowance.")
    hours_held = serializers.SerializerMethodField()
    events = ContractEventSerializer(many=True)

    @extend_schema_field(TermsSerializer(many=True))
    def get_terms(self, contract: Contract) -> Any:
        versions = contract.terms.select_related("asset").order_by("-version")
        return TermsSerializer(versions, many=True).data

    @extend_schema_field(HoursField(allow_null=True))
    def get_hours_left(self, contract: Contract) -> str | None:
        left = services.left_of(contract)
        return None if left is None else HoursField().to_representation(left.available)

    @extend_schema_field(HoursField(allow_null=True))
    def get_hours_held(self, contract: Contract) -> str | None:
        left = services.left_of(contract)
        return None if left is None else HoursField().to_representation(left.held)


class ContractPeriodSerializer(serializers.Serializer):
    """Show a period: what it gave and cost, and what of it lapsed or went back."""

    number = serializers.IntegerField(source="no")
    status = serializers.ChoiceField(choices=PeriodStatus.choices)
    reason = serializers.CharField()
    terms_version = serializers.IntegerField(source="terms.version")
    due_at = serializers.DateTimeField()
    opened_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField(allow_null=True)
    hours = serializers.SerializerMethodField()
    amount_usd = serializers.SerializerMethodField()
    price_usd = UsdField(source="price")
    fee_usd = UsdField(source="fee")
    hours_lapsed = serializers.SerializerMethodField()
    returned_usd = serializers.SerializerMethodField()

    @extend_schema_field(HoursField(allow_null=True))
    def get_hours(self, period: ContractPeriod) -> str | None:
        return self._of(period, "GPU", period.amount)

    @extend_schema_field(UsdField(allow_null=True))
    def get_amount_usd(self, period: ContractPeriod) -> str | None:
        return self._of(period, "USD", period.amount)

    @extend_schema_field(HoursField(allow_null=True))
    def get_hours_lapsed(self, period: ContractPeriod) -> str | None:
        return self._of(period, "GPU", period.lapsed)

    @extend_schema_field(UsdField(allow_null=True))
    def get_returned_usd(self, period: ContractPeriod) -> str | None:
        return self._of(period, "USD", period.lapsed)

    def _of(self, period: ContractPeriod, asset: str, amount: int) -> str | None:
        if period.terms.asset_id != asset:
            return None
        return (HoursField if asset == "GPU" else UsdField)().to_representation(amount)
