"""Bodies of API keys, in and out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rest_framework import serializers

from accounts.choices import CapPeriod, Scope
from gaas.lib import clock
from gaas.lib.rest.fields import HoursField, NetworkField, StrictIntegerField, TextField, UsdField
from gaas.lib.rest.serializers import StrictSerializer

DAY = 86_400
LONGEST_OVERLAP = 7 * DAY


class KeyCreateSerializer(StrictSerializer):
    name = TextField(max_length=100, help_text="What it is for, to know it by.")
    scopes = serializers.MultipleChoiceField(choices=Scope.choices, allow_empty=False)
    account = serializers.UUIDField(
        required=False, allow_null=True, help_text="Where left out, the key acts wherever its user may."
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    allow_list = serializers.ListField(
        child=NetworkField(), required=False, max_length=50, help_text="Addresses and networks it may be used from."
    )
    cap_hours = HoursField(allow_zero=True, required=False, allow_null=True, source="cap_gpu_ms")
    cap_usd = UsdField(allow_zero=True, required=False, allow_null=True, source="cap_microusd")
    cap_period = serializers.ChoiceField(choices=CapPeriod.choices, required=False)

    def validate_expires_at(self, value: Any) -> Any:
        if value is not None and value <= clock.now():
            raise serializers.ValidationError("Give a moment that is still to come.", code="invalid")
        return value


class KeyRotateSerializer(StrictSerializer):
    overlap_seconds = StrictIntegerField(
        min_value=0, max_value=LONGEST_OVERLAP, required=False, help_text="How long the old one is good still; a day."
    )

    def overlap(self) -> timedelta:
        return timedelta(seconds=self.validated_data.get("overlap_seconds", DAY))


class KeyRevokeSerializer(StrictSerializer):
    reason = TextField(max_length=2000, lines=True, allow_blank=True, default="")


class KeySerializer(serializers.Serializer):
    """Show a key to which the view gave `used`, read for a whole page at once."""

    id = serializers.UUIDField()
    prefix = serializers.CharField(help_text="The public part, by which a key is known again: gaas_<prefix>_….")
    name = serializers.CharField()
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=Scope.choices))
    account = serializers.UUIDField(source="account_id", allow_null=True)
    is_live = serializers.SerializerMethodField(help_text="Whether it is taken now.")
    expires_at = serializers.DateTimeField(allow_null=True)
    allow_list = serializers.ListField(child=serializers.CharField())
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="To the minute.")
    revoked_at = serializers.DateTimeField(allow_null=True)
    replaced_by = serializers.UUIDField(source="replaced_by_id", allow_null=True)
    overlap_until = serializers.DateTimeField(allow_null=True, help_text="When a key that was rotated ends.")
    cap_period = serializers.ChoiceField(choices=CapPeriod.choices)
    cap_hours = HoursField(source="cap_gpu_ms", allow_null=True)
    cap_gpu_ms = serializers.IntegerField(allow_null=True)
    used_hours = HoursField(source="used.gpu_ms", help_text="Held in this period, less what came back.")
    used_gpu_ms = serializers.IntegerField(source="used.gpu_ms")
    cap_usd = UsdField(source="cap_microusd", allow_null=True)
    cap_microusd = serializers.IntegerField(allow_null=True)
    used_usd = UsdField(source="used.microusd", help_text="Held in this period, less what came back.")
    used_microusd = serializers.IntegerField(source="used.microusd")
    created_at = serializers.DateTimeField()

    def get_is_live(self, key: Any) -> bool:
        return bool(key.is_live(self.context["now"]))


class KeyWithSecretSerializer(KeySerializer):
    secret = serializers.SerializerMethodField(help_text="The whole key, shown this once.")

    def get_secret(self, key: Any) -> str:
        return str(self.context["secret"])
