"""What a joining agent sends, checked field by field. Unknown fields pass: an agent may be the newer side."""

from __future__ import annotations

from rest_framework import serializers

from gaas.lib.rest.fields import StrictIntegerField, TextField
from gpus.agent.protocol import HostFacts
from gpus.choices import Sandbox
from gpus.executors import EXECUTORS

MOST = 2**31 - 1


class FactsSerializer(serializers.Serializer):
    """Read HostFacts."""

    hostname = TextField(max_length=253, allow_blank=True)
    agent_version = TextField(max_length=50, allow_blank=True)
    os = TextField(max_length=200, allow_blank=True)
    cpu_count = StrictIntegerField(min_value=0, max_value=MOST)
    memory_mib = StrictIntegerField(min_value=0, max_value=MOST)
    sandbox = serializers.ChoiceField(choices=Sandbox.choices)
    executors = serializers.ListField(child=serializers.ChoiceField(choices=EXECUTORS), max_length=10, default=list)

    def to_internal_value(self, data: object) -> HostFacts:
        return HostFacts(**super().to_internal_value(data))


class JoinSerializer(serializers.Serializer):
    """Read a JoinRequest."""

    protocol = StrictIntegerField(min_value=0, max_value=65_535)
    token = TextField(max_length=200)
    facts = FactsSerializer()


class JoinAnswerSerializer(serializers.Serializer):
    """Show a JoinAnswer; the secret for the only time."""

    host_id = serializers.UUIDField(read_only=True)
    secret = serializers.CharField(read_only=True)
