from __future__ import annotations

from datetime import datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from gaas.lib.rest.fields import LabelsField, StrictBooleanField, StrictIntegerField, TextField, UsdField
from gaas.lib.rest.serializers import StrictSerializer
from gpus.choices import Availability, GPUStatus, HostStatus, Visibility
from gpus.models import GPU, Host
from gpus.schedules import ScheduleField
from gpus.troubles import troubles


class RoundedField(serializers.FloatField):
    """Show two decimals."""

    def to_representation(self, value: float) -> float:
        return round(float(value), 2)


class GPUSerializer(StrictSerializer):
    """Show a GPU, as `GPU.objects.with_availability` read it with its host."""

    id = serializers.UUIDField(read_only=True)
    host = serializers.UUIDField(source="host_id", read_only=True)
    host_name = serializers.CharField(source="host.name", read_only=True)
    owner = serializers.UUIDField(source="host.account_id", read_only=True, help_text="The host's account.")
    region = serializers.CharField(source="host.region", read_only=True)
    uuid = serializers.CharField(read_only=True)
    index = serializers.IntegerField(read_only=True)
    model = serializers.CharField(read_only=True)
    vram_mib = serializers.IntegerField(read_only=True)
    compute_capability = serializers.CharField(read_only=True)
    driver = serializers.CharField(read_only=True)
    simulated = serializers.BooleanField(source="is_simulated", read_only=True)
    sandbox = serializers.CharField(
        source="host.sandbox", read_only=True, help_text="What tasks run in: bubblewrap, or none."
    )
    status = serializers.ChoiceField(choices=GPUStatus.choices, read_only=True)
    availability = serializers.ChoiceField(choices=Availability.choices, read_only=True)
    price_per_hour_usd = UsdField(source="price_per_hour", read_only=True)
    price_per_hour_microusd = serializers.IntegerField(source="price_per_hour", read_only=True)
    accepts_quota = serializers.BooleanField(read_only=True)
    visibility = serializers.ChoiceField(choices=Visibility.choices, read_only=True)
    labels = serializers.DictField(child=serializers.CharField(), read_only=True)
    schedule = ScheduleField(read_only=True, help_text="When it may be used; {} is always.")
    turns_at = serializers.DateTimeField(
        read_only=True, allow_null=True, help_text="When its schedule opens or closes it next."
    )
    foreign_processes = serializers.IntegerField(
        read_only=True, help_text="Programs of others on it; it is offered again when there are none."
    )
    host_reliability = serializers.FloatField(source="host.reliability", read_only=True)
    last_seen_at = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField(read_only=True)
    updated_at = serializers.DateTimeField(read_only=True)

    def get_last_seen_at(self, gpu: GPU) -> datetime:
        return gpu.seen_at


class OfferSerializer(StrictSerializer):
    """Read the terms that an owner sets."""

    price_per_hour_usd = UsdField(source="price_per_hour", required=False, allow_zero=True, most=10**12)
    visibility = serializers.ChoiceField(choices=Visibility.choices, required=False)
    accepts_quota = StrictBooleanField(required=False)
    labels = LabelsField(required=False)
    schedule = ScheduleField(required=False)


class SampleSerializer(StrictSerializer):
    """Show what a GPU did in the `seconds` from `at` on: means, of the memory the most; null where not measured."""

    at = serializers.DateTimeField(read_only=True)
    seconds = serializers.IntegerField(source="step", read_only=True)
    utilisation = RoundedField(read_only=True, allow_null=True, help_text="Percent.")
    memory_mib = RoundedField(read_only=True, allow_null=True)
    power_w = RoundedField(read_only=True, allow_null=True)
    temperature_c = RoundedField(read_only=True, allow_null=True)


class MetricsSerializer(StrictSerializer):
    """Show the last measurements of a GPU, and those of a time before; a value that was not measured is null."""

    at = serializers.DateTimeField(read_only=True, default=None, allow_null=True)
    utilisation = serializers.FloatField(read_only=True, default=None, allow_null=True, help_text="Percent.")
    memory_mib = serializers.FloatField(read_only=True, default=None, allow_null=True)
    power_w = serializers.FloatField(read_only=True, default=None, allow_null=True)
    temperature_c = serializers.FloatField(read_only=True, default=None, allow_null=True)
    foreign_processes = serializers.IntegerField(read_only=True, default=None, allow_null=True)
    samples = SampleSerializer(many=True, read_only=True)


class ReasonSerializer(StrictSerializer):
    """Read why somebody does something; kept in the audit trail."""

    reason = TextField(max_length=2000, required=False, allow_blank=True, default="")


class TroubleSerializer(StrictSerializer):
    """Show what is wrong with a host and what mends it."""

    code = serializers.CharField(read_only=True)
    detail = serializers.CharField(read_only=True)
    hint = serializers.CharField(read_only=True)


class MaintenanceSerializer(ReasonSerializer):
    """Read when a host will be away; without times it is from now on, until undrain."""

    begins_at = serializers.DateTimeField(required=False, help_text="Now, if left out.")
    ends_at = serializers.DateTimeField(required=False, help_text="Back at work by itself then.")


class RotateSerializer(StrictSerializer):
    """Read for how long the secret before is good beside the new one."""

    overlap_seconds = StrictIntegerField(
        min_value=0, max_value=3600, default=0, help_text="0 where the secret may have leaked."
    )


class HostSerializer(StrictSerializer):
    """Show a host to the people of its account."""

    id = serializers.UUIDField(read_only=True)
    account = serializers.UUIDField(source="account_id", read_only=True)
    account_name = serializers.CharField(source="account.name", read_only=True)
    name = serializers.CharField(read_only=True)
    status = serializers.ChoiceField(choices=HostStatus.choices, read_only=True)
    is_reachable = serializers.SerializerMethodField()
    region = serializers.CharField(read_only=True)
    labels = serializers.DictField(child=serializers.CharField(), read_only=True)
    hostname = serializers.CharField(read_only=True)
    agent_version = serializers.CharField(read_only=True)
    os = serializers.CharField(read_only=True)
    cpu_count = serializers.IntegerField(read_only=True)
    memory_mib = serializers.IntegerField(read_only=True)
    sandbox = serializers.CharField(read_only=True, help_text="What tasks run in: bubblewrap, or none.")
    executors = serializers.ListField(child=serializers.CharField(), read_only=True)
    clock_skew_seconds = serializers.FloatField(read_only=True)
    reliability = serializers.FloatField(
        read_only=True, help_text="(up minutes + 10) / (minutes + 10) of 30 days, announced maintenance left out."
    )
    maintenance_from = serializers.DateTimeField(read_only=True, allow_null=True)
    maintenance_until = serializers.DateTimeField(read_only=True, allow_null=True)
    last_sync_at = serializers.DateTimeField(read_only=True, allow_null=True)
    lease_expires_at = serializers.DateTimeField(read_only=True, allow_null=True)
    failures = serializers.IntegerField(
        read_only=True, help_text="In a row, by the host's own fault; at HOST_FAILURES it is drained."
    )
    overclaims = serializers.IntegerField(
        read_only=True, help_text="Attempts for which its agent claimed over 5 % more time than the server counted."
    )
    overclaimed_at = serializers.DateTimeField(read_only=True, allow_null=True)
    troubles = serializers.SerializerMethodField(help_text="What its owner should look at, and what mends it.")
    join_token_expires_at = serializers.DateTimeField(read_only=True, allow_null=True)
    created_at = serializers.DateTimeField(read_only=True)
    updated_at = serializers.DateTimeField(read_only=True)

    def get_is_reachable(self, host: Host) -> bool:
        return host.is_reachable(self.context["now"])

    @extend_schema_field(TroubleSerializer(many=True))
    def get_troubles(self, host: Host) -> list[dict[str, str]]:
        return [trouble.as_json() for trouble in troubles(host, self.context["now"])]


class NewHostSerializer(StrictSerializer):
    """Read what a new host is called and whose it is; without `account` it is the caller's own."""

    name = TextField(max_length=100)
    account = serializers.UUIDField(required=False)
    region = TextField(max_length=63, required=False, allow_blank=True, default="")
    labels = LabelsField(required=False)


class HostDescriptionSerializer(StrictSerializer):
    """Read what a host is known by."""

    name = TextField(max_length=100, required=False)
    region = TextField(max_length=63, required=False, allow_blank=True)
    labels = LabelsField(required=False)


class HostWithTokenSerializer(HostSerializer):
    """Show a host with the token that its agent joins by, for the only time."""

    join_token = serializers.SerializerMethodField()

    def get_join_token(self, host: Host) -> str:
        token: Any = self.context["join_token"]
        return str(token)


class SecretSerializer(StrictSerializer):
    """Show a host's new secret, for the only time."""

    secret = serializers.CharField(read_only=True)
