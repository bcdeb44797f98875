"""Bodies of webhooks and their deliveries, in and out."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from rest_framework import serializers

from accounts.api.key_serializers import DAY, LONGEST_OVERLAP
from gaas.lib.rest.fields import StrictBooleanField, StrictIntegerField, TextField
from gaas.lib.rest.serializers import StrictSerializer
from gaas.outbox.choices import DeliveryStatus, EventType

URL = "Where it is sent: https, and an address of the public internet."
CHILDREN = "Also what happens in the accounts below."


class WebhookCreateSerializer(StrictSerializer):
    account = serializers.UUIDField(required=False, help_text="Where left out, the caller's personal account.")
    url = TextField(max_length=2000, help_text=URL)
    events = serializers.MultipleChoiceField(choices=EventType.choices, allow_empty=False)
    includes_children = StrictBooleanField(default=False, help_text=CHILDREN)


class WebhookChangeSerializer(StrictSerializer):
    url = TextField(max_length=2000, required=False, help_text=URL)
    events = serializers.MultipleChoiceField(choices=EventType.choices, allow_empty=False, required=False)
    includes_children = StrictBooleanField(required=False, help_text=CHILDREN)
    is_active = StrictBooleanField(
        required=False,
        help_text="True also for one that the platform switched off, but not for one that its staff did.",
    )


class WebhookRotateSerializer(StrictSerializer):
    overlap_seconds = StrictIntegerField(
        min_value=0, max_value=LONGEST_OVERLAP, required=False, help_text="How long the old one signs besides; a day."
    )

    def overlap(self) -> timedelta:
        return timedelta(seconds=self.validated_data.get("overlap_seconds", DAY))


class WebhookSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    account = serializers.UUIDField(source="account_id")
    url = serializers.CharField()
    events = serializers.ListField(child=serializers.ChoiceField(choices=EventType.choices))
    includes_children = serializers.BooleanField()
    is_active = serializers.BooleanField()
    disabled_at = serializers.DateTimeField(allow_null=True, help_text="When the platform or staff switched it off.")
    disabled_reason = serializers.CharField(allow_blank=True)
    is_disabled_by_staff = serializers.BooleanField(help_text="Then only they switch it on again.")
    failing_since = serializers.DateTimeField(allow_null=True, help_text="The first failure since the last success.")
    failures = serializers.IntegerField(help_text="In a row.")
    old_secret_until = serializers.DateTimeField(allow_null=True, help_text="Until then two secrets sign.")
    created_at = serializers.DateTimeField()


class WebhookWithSecretSerializer(WebhookSerializer):
    secret = serializers.SerializerMethodField(help_text="What signs, shown this once.")

    def get_secret(self, webhook: Any) -> str:
        return str(self.context["secret"])


class DeliverySerializer(serializers.Serializer):
    id = serializers.UUIDField()
    webhook = serializers.UUIDField(source="webhook_id")
    event_id = serializers.UUIDField(help_text="The same at each attempt, and for each webhook that hears of it.")
    event = serializers.CharField()
    status = serializers.ChoiceField(choices=DeliveryStatus.choices)
    attempt = serializers.IntegerField(help_text="How many were begun.")
    next_attempt_at = serializers.SerializerMethodField(help_text="Not before; null where none follows.")
    response_status = serializers.IntegerField(allow_null=True)
    response_excerpt = serializers.CharField(allow_blank=True, help_text="How the last answer began.")
    error = serializers.CharField(allow_blank=True)
    duration_ms = serializers.IntegerField(allow_null=True)
    created_at = serializers.DateTimeField()
    attempted_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)

    def get_next_attempt_at(self, delivery: Any) -> str | None:
        if delivery.status != DeliveryStatus.PENDING:
            return None
        return str(serializers.DateTimeField().to_representation(delivery.due_at))


class DeliveryDetailSerializer(DeliverySerializer):
    payload = serializers.SerializerMethodField(help_text="What is sent.")

    def get_payload(self, delivery: Any) -> dict[str, Any]:
        return dict(json.loads(delivery.body))
