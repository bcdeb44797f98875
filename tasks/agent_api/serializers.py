"""What agents may send; hosts are as little trusted as anyone."""

from __future__ import annotations

import json
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from gaas.lib.rest.fields import StrictBooleanField, StrictIntegerField, TextField
from gpus.agent import protocol as wire
from gpus.api.wire import FactsSerializer
from gpus.services import SyncReport
from tasks.services.attempts import Report
from tasks.services.listed import Named
from tasks.services.sync import Held

MAX_GPUS = 256
MAX_ATTEMPTS = 1024
MAX_JSON_BYTES = 8 * 1024


class SmallObject(serializers.JSONField):
    """A JSON object of a few kilobytes."""

    most = MAX_JSON_BYTES

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise ValidationError("Give an object.")
        return self._bounded(data)

    def _bounded(self, data: Any) -> Any:
        if len(json.dumps(data)) > self.most:
            raise ValidationError(f"At most {self.most} bytes fit.")
        return data


class ResultField(SmallObject):
    """result.json: any JSON value."""

    most = wire.MAX_RESULT_BYTES * 2  # written with \\u escapes a value may take more than its file

    def to_internal_value(self, data: Any) -> Any:
        return self._bounded(data)


class Measurements(serializers.Field):
    """Pass on whatever was measured, as it was sent (gpus/samples.py)."""

    def to_internal_value(self, data: Any) -> Any:
        return data

    def to_representation(self, value: Any) -> Any:
        return value


# Unknown keys are ignored in all of these, so that an agent may be newer than its server.
class GpuInput(serializers.Serializer):
    uuid = TextField(max_length=100)
    index = StrictIntegerField(min_value=0, max_value=4096)
    model = TextField(max_length=100)
    vram_mib = StrictIntegerField(min_value=1, max_value=10_000_000)
    compute_capability = serializers.RegexField(r"\A([0-9]{1,2}\.[0-9])?\Z", default="", allow_blank=True)
    driver = TextField(max_length=50, default="", allow_blank=True)
    is_simulated = StrictBooleanField(default=False)


class PhaseInput(serializers.Serializer):
    text = TextField(max_length=200)
    percent = StrictIntegerField(min_value=0, max_value=100, allow_null=True, default=None)
    queued = serializers.BooleanField(required=False)


class HeldInput(serializers.Serializer):
    id = serializers.UUIDField()
    epoch = StrictIntegerField(min_value=1, max_value=2**31 - 1)
    state = serializers.ChoiceField([wire.PREPARING, wire.RUNNING, wire.ENDED])
    elapsed_ms = StrictIntegerField(min_value=0, max_value=2**53, default=0)
    log_offset = StrictIntegerField(min_value=0, max_value=2**53, default=0)
    progress = SmallObject(required=False, allow_null=True, default=None)
    phase = PhaseInput(required=False, allow_null=True, default=None)


class SyncInput(serializers.Serializer):
    protocol = StrictIntegerField(min_value=0, max_value=2**31 - 1)
    session = serializers.UUIDField()
    seq = StrictIntegerField(min_value=1, max_value=2**62)
    boot_id = TextField(max_length=64)
    clock = TextField(max_length=40, allow_blank=True)
    facts = FactsSerializer()
    gpus = GpuInput(many=True, max_length=MAX_GPUS, default=list)
    attempts = HeldInput(many=True, max_length=MAX_ATTEMPTS, default=list)
    # Bad metrics are dropped one by one later; they never cost a host its lease.
    metrics = Measurements(default=list)

    def report(self) -> SyncReport:
        data = self.validated_data
        metrics = data["metrics"]
        return SyncReport(
            session=data["session"],
            seq=data["seq"],
            boot_id=data["boot_id"],
            clock=data["clock"],
            facts=data["facts"],
            gpus=[wire.GpuReport(**gpu) for gpu in data["gpus"]],
            metrics=metrics[:MAX_GPUS] if isinstance(metrics, list) else [metrics],
            protocol=data["protocol"],
        )

    def held(self) -> list[Held]:
        return [Held(**item) for item in self.validated_data["attempts"]]


class StartInput(serializers.Serializer):
    epoch = StrictIntegerField(min_value=1, max_value=2**31 - 1)
    session = serializers.UUIDField()
    seq = StrictIntegerField(min_value=0, max_value=2**62)


class LeftFileInput(serializers.Serializer):
    # A name is looked at again where it is used; here it only has to be storable.
    name = TextField(max_length=512, trim_whitespace=False)
    size = StrictIntegerField(min_value=0, max_value=2**53)
    sha256 = serializers.RegexField(r"\A[0-9a-f]{64}\Z")


def _listed(items: list[dict[str, Any]]) -> list[Named]:
    return [Named(**item) for item in items]


class CheckpointInput(serializers.Serializer):
    epoch = StrictIntegerField(min_value=1, max_value=2**31 - 1)
    files = LeftFileInput(many=True, max_length=wire.MAX_LISTED_FILES)

    def listed(self) -> list[Named]:
        return _listed(self.validated_data["files"])


class ArtifactQuery(serializers.Serializer):
    """What stands in the address of POST artifacts."""

    epoch = serializers.RegexField(r"\A[0-9]{1,9}\Z")
    offset = serializers.RegexField(r"\A[0-9]{1,18}\Z")
    size = serializers.RegexField(r"\A[0-9]{1,18}\Z")
    kind = serializers.ChoiceField([wire.OUTPUT, wire.CHECKPOINT])
    name = TextField(max_length=512, trim_whitespace=False)
    sha256 = serializers.RegexField(r"\A[0-9a-f]{64}\Z")

    def named(self) -> Named:
        data = self.validated_data
        return Named(name=data["name"], size=int(data["size"]), sha256=data["sha256"])


class FinishInput(serializers.Serializer):
    epoch = StrictIntegerField(min_value=1, max_value=2**31 - 1)
    outcome = serializers.ChoiceField([wire.SUCCEEDED, wire.FAILED, wire.CANCELLED, wire.TIMED_OUT, wire.REFUSED])
    fault = serializers.ChoiceField([wire.FAULT_USER, wire.FAULT_HOST, wire.FAULT_PLATFORM, wire.FAULT_NONE])
    exit_code = StrictIntegerField(min_value=-(2**31), max_value=2**31 - 1, allow_null=True)
    code = TextField(max_length=64, allow_blank=True)
    detail = TextField(max_length=2000, allow_blank=True, lines=True)
    elapsed_ms = StrictIntegerField(min_value=0, max_value=2**53)
    log_size = StrictIntegerField(min_value=0, max_value=2**53)
    log_sha256 = serializers.RegexField(r"\A([0-9a-f]{64})?\Z", allow_blank=True)
    result = ResultField(required=False, allow_null=True, default=None)
    log_lost_from = StrictIntegerField(min_value=0, max_value=2**53, required=False, allow_null=True, default=None)
    usage = SmallObject(required=False, default=dict)
    artifacts = LeftFileInput(many=True, max_length=wire.MAX_LISTED_FILES, required=False, default=list)
    files_note = TextField(max_length=2000, allow_blank=True, lines=True, required=False, default="")

    def report(self) -> Report:
        data = dict(self.validated_data)
        return Report(artifacts=tuple(_listed(data.pop("artifacts"))), **data)
