"""Bodies of statements."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from gaas.lib.rest.fields import HoursField, UsdField
from payments.choices import StatementKind
from payments.models import Statement


class HoursBalanceSerializer(serializers.Serializer):
    kind = serializers.CharField()
    opening_hours = HoursField(source="opening")
    opening_gpu_ms = serializers.IntegerField(source="opening")
    in_hours = HoursField(source="came")
    in_gpu_ms = serializers.IntegerField(source="came")
    out_hours = HoursField(source="went")
    out_gpu_ms = serializers.IntegerField(source="went")
    closing_hours = HoursField(source="closing")
    closing_gpu_ms = serializers.IntegerField(source="closing")
    held_hours = HoursField(source="held", allow_null=True)
    held_gpu_ms = serializers.IntegerField(source="held", allow_null=True)
    transfers_in = serializers.IntegerField(source="arrivals")
    transfers_out = serializers.IntegerField(source="departures")


class MoneyBalanceSerializer(serializers.Serializer):
    kind = serializers.CharField()
    opening_usd = UsdField(source="opening")
    opening_microusd = serializers.IntegerField(source="opening")
    in_usd = UsdField(source="came")
    in_microusd = serializers.IntegerField(source="came")
    out_usd = UsdField(source="went")
    out_microusd = serializers.IntegerField(source="went")
    closing_usd = UsdField(source="closing")
    closing_microusd = serializers.IntegerField(source="closing")
    held_usd = UsdField(source="held", allow_null=True)
    held_microusd = serializers.IntegerField(source="held", allow_null=True)
    transfers_in = serializers.IntegerField(source="arrivals")
    transfers_out = serializers.IntegerField(source="departures")


class SoldSerializer(serializers.Serializer):
    """Show what was charged on an owner's GPUs; charged = fee + earned."""

    hours_sold = HoursField(source="sold_ms")
    sold_gpu_ms = serializers.IntegerField(source="sold_ms")
    hours_lent = HoursField(source="lent_ms", help_text="To the quota, which pays nothing.")
    lent_gpu_ms = serializers.IntegerField(source="lent_ms")
    charged_usd = UsdField(source="charged")
    charged_microusd = serializers.IntegerField(source="charged")
    fee_usd = UsdField(source="fee")
    fee_microusd = serializers.IntegerField(source="fee")
    earned_usd = UsdField(source="owner_part")
    earned_microusd = serializers.IntegerField(source="owner_part")
    from_loss_usd = UsdField(source="from_loss", help_text="Paid by the platform for what it broke itself.")
    from_loss_microusd = serializers.IntegerField(source="from_loss")
    up_minutes = serializers.IntegerField(allow_null=True, help_text="Of all hosts together; null where not known.")
    counted_minutes = serializers.IntegerField(allow_null=True, help_text="In which they were to be up.")


class StatementSerializer(serializers.Serializer):
    """Show a month of UTC: what was there, what came and went, what was left."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=StatementKind.choices)
    account = serializers.UUIDField(source="account_id")
    account_name = serializers.CharField(source="account.name")
    month = serializers.SerializerMethodField(help_text="Such as 2026-10.")
    begins_at = serializers.DateTimeField(source="begin")
    ends_at = serializers.DateTimeField(source="end", help_text="The first moment that is not in it.")
    hours = serializers.SerializerMethodField()
    money = serializers.SerializerMethodField()
    sold = serializers.SerializerMethodField(help_text="Of an owner's statement; null for others.")
    created_at = serializers.DateTimeField(help_text="When it was made; it never changes.")

    def get_month(self, statement: Statement) -> str:
        return f"{statement.month:%Y-%m}"

    @extend_schema_field(HoursBalanceSerializer(many=True))
    def get_hours(self, statement: Statement) -> Any:
        rows = [row for row in statement.balances.all() if row.asset_id == "GPU"]
        return HoursBalanceSerializer(rows, many=True).data

    @extend_schema_field(MoneyBalanceSerializer(many=True))
    def get_money(self, statement: Statement) -> Any:
        rows = [row for row in statement.balances.all() if row.asset_id == "USD"]
        return MoneyBalanceSerializer(rows, many=True).data

    @extend_schema_field(SoldSerializer(allow_null=True))
    def get_sold(self, statement: Statement) -> Any:
        return None if statement.sold_ms is None else SoldSerializer(statement).data


class MovementSerializer(serializers.Serializer):
    """Show the sum of all transfers of one kind on one balance; of the two units one is null."""

    balance = serializers.CharField(source="balance.kind")
    kind = serializers.CharField()
    transfers = serializers.IntegerField()
    in_gpu_ms = serializers.SerializerMethodField()
    out_gpu_ms = serializers.SerializerMethodField()
    in_microusd = serializers.SerializerMethodField()
    out_microusd = serializers.SerializerMethodField()

    def get_in_gpu_ms(self, row: Any) -> int | None:
        return row.came if row.balance.asset_id == "GPU" else None

    def get_out_gpu_ms(self, row: Any) -> int | None:
        return row.went if row.balance.asset_id == "GPU" else None

    def get_in_microusd(self, row: Any) -> int | None:
        return row.came if row.balance.asset_id == "USD" else None

    def get_out_microusd(self, row: Any) -> int | None:
        return row.went if row.balance.asset_id == "USD" else None


class StatementDetailSerializer(StatementSerializer):
    """Add the month's transfers, added up by kind; the CSV has each."""

    movements = MovementSerializer(many=True)
