from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from accounts.models import Account
from gaas.lib.amounts import MS_PER_HOUR, show_hours, show_micro
from gaas.lib.rest.fields import HoursField, LabelsField, StrictBooleanField, StrictIntegerField, TextField, UsdField
from gaas.lib.rest.serializers import StrictSerializer
from gpus.capability import capability_number
from tasks.api.file_serializers import GivenFile, InputFile
from tasks.choices import AttemptStatus, Funding, StepKind, StepStatus, TaskStatus
from tasks.draft import Draft, InputWanted
from tasks.models import Task
from tasks.services.plan import Quote

MAX_ENV = 128
MAX_ENV_BYTES = 64 * 1024
MIN_SECRET_BYTES = 6
MAX_TASK_GPUS = 64
MAX_WAIT_MS = 366 * 24 * MS_PER_HOUR

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_CAPABILITY = re.compile(r"[0-9]{1,2}\.[0-9]", re.ASCII)


class EnvField(serializers.DictField):
    """Environment of the program: names as in a shell, values without NUL. Never shown again."""

    child = TextField(max_length=32 * 1024, lines=True, allow_blank=True)

    def to_internal_value(self, data: Any) -> dict[str, str]:
        env: dict[str, str] = super().to_internal_value(data)
        if len(env) > MAX_ENV or sum(len(k) + len(v) for k, v in env.items()) > MAX_ENV_BYTES:
            raise ValidationError(f"At most {MAX_ENV} variables and {MAX_ENV_BYTES} characters fit.")
        for name in env:
            if not _ENV_NAME.fullmatch(name):
                raise ValidationError(
                    {name[:100] or "?": ErrorDetail("A name has letters, digits and _, no digit first.", "invalid")}
                )
            if name.upper().startswith("GAAS_"):
                raise ValidationError({name: ErrorDetail("Names from GAAS_ on are the platform's.", "reserved")})
        return env


class SecretsField(EnvField):
    """The secret part of the environment: stored encrypted, given to the program alone, masked in its log."""

    def to_internal_value(self, data: Any) -> dict[str, str]:
        secrets = super().to_internal_value(data)
        for name, value in secrets.items():
            if len(value.strip().encode()) < MIN_SECRET_BYTES:
                why = f"At least {MIN_SECRET_BYTES} characters: a shorter one could not be kept out of a log."
                raise ValidationError({name: ErrorDetail(why, "too_short")})
        return secrets


@extend_schema_field(OpenApiTypes.STR)
class CapabilityField(serializers.Field):
    """Compute capability as NVIDIA writes it: "9.0"."""

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, str) or not _CAPABILITY.fullmatch(data):
            raise ValidationError('Give a compute capability such as "9.0".')
        return capability_number(data)

    def to_representation(self, value: int) -> str:
        return f"{value // 10}.{value % 10}"


class SpecField(serializers.JSONField):
    """What to run, as the kind reads it; an object."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        value = super().to_internal_value(data)
        if not isinstance(value, dict):
            raise ValidationError('Give an object such as {"command": ["python3", "-c", "print(1)"]}.')
        return value


class TaskInput(StrictSerializer):
    """What a submit and a quote take."""

    title = TextField(max_length=200)
    kind = TextField(max_length=20, default="script", initial="script", help_text="What the spec is of: script.")
    spec = SpecField(
        initial={"script": "echo hello"},
        help_text='A script: {"command": [..]} or {"script": "…"}, and image?, network?.',
    )
    account = serializers.UUIDField(required=False, help_text="Who pays; left out: your personal account.")
    funding = serializers.ChoiceField(Funding.choices, default=Funding.QUOTA)
    contract = serializers.UUIDField(required=False, help_text="Reserved: the contract whose hours pay.")
    gpus = StrictIntegerField(min_value=1, max_value=MAX_TASK_GPUS, default=1)
    min_vram_mib = StrictIntegerField(min_value=1, max_value=10_000_000, required=False)
    gpu_model = TextField(max_length=100, required=False, allow_blank=True)
    min_compute_capability = CapabilityField(required=False)
    labels = LabelsField(required=False, help_text="Labels that the host or GPU carries.")
    region = TextField(max_length=64, required=False, allow_blank=True)
    host = serializers.UUIDField(required=False, help_text="Run on this host and no other.")
    hours = HoursField(
        required=False,
        allow_null=True,
        help_text="Wall-clock limit in hours; gpus × hours are held. Null or left out, for a spec that serves alone: it"
        " goes on until it is ended, charged and held for hour by hour.",
    )
    max_price_per_hour_usd = UsdField(required=False, help_text="Wallet: at most this per GPU-hour.")
    priority = StrictIntegerField(min_value=-100, max_value=100, default=0, help_text="Above 0 is for staff to give.")
    retries = StrictIntegerField(min_value=0, max_value=10, default=0, help_text="Again after the program failed.")
    interruptible = StrictBooleanField(
        default=False,
        help_text="May begin where the owner's hours end too soon: stopped then, free of charge, and placed again.",
    )
    env = EnvField(required=False)
    secrets = SecretsField(required=False, write_only=True, help_text="Environment too; kept encrypted, never logged.")
    inputs = InputFile(many=True, required=False, help_text="Files for $GAAS_INPUT.")
    max_wait_hours = HoursField(required=False, most=MAX_WAIT_MS, help_text="Expire when it could not start by then.")
    cost_code = TextField(max_length=64, required=False, allow_blank=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["funding"] != Funding.WALLET and "max_price_per_hour_usd" in attrs:
            raise ValidationError({"max_price_per_hour_usd": "A price is for funding `wallet`; hours have none."})
        if (attrs["funding"] == Funding.RESERVED) != ("contract" in attrs):
            raise ValidationError({"contract": "Funding `reserved` names the contract whose hours pay; no other does."})
        if both := sorted(attrs.get("secrets", {}).keys() & attrs.get("env", {}).keys()):
            raise ValidationError(
                {"secrets": {both[0]: ErrorDetail("Stands in `env` too: give it once.", "duplicate")}}
            )
        return attrs

    def draft(self, user: Any) -> Draft:
        """Give the validated input in the platform's units. Raises NotFound for an account that is not seen."""
        data = dict(self.validated_data)
        account_id: UUID | None = data.pop("account", None)
        account = None if account_id is None else Account.objects.visible_to(user).named(account_id)
        return Draft(
            account=account,
            host_id=data.pop("host", None),
            contract_id=data.pop("contract", None),
            limit_ms=data.pop("hours", None),
            max_price_per_hour=data.pop("max_price_per_hour_usd", None),
            max_wait_ms=data.pop("max_wait_hours", None),
            inputs=tuple(InputWanted(**item) for item in data.pop("inputs", ())),
            **data,
        )


class ReasonInput(StrictSerializer):
    reason = TextField(max_length=2000, lines=True, required=False, default="", allow_blank=True)


class RejectInput(StrictSerializer):
    reason = TextField(max_length=2000, lines=True, help_text="Required: the submitter sees it.")


class ApproveInput(ReasonInput):
    hours = HoursField(required=False, help_text="Fewer hours than asked; the rest of the hold goes back.")
    priority = StrictIntegerField(min_value=-100, max_value=100, required=False)


class FailureOutput(serializers.Serializer):
    code = serializers.CharField(help_text="Stable: exit_code, time_limit, out_of_memory, infrastructure, …")
    detail = serializers.CharField()
    fault = serializers.CharField(help_text="user, host or platform")


class WaitingOutput(serializers.Serializer):
    code = serializers.CharField()
    detail = serializers.CharField()
    hint = serializers.CharField(help_text="What would unblock it.")


class StepOutput(serializers.Serializer):
    id = serializers.UUIDField()
    kind = serializers.ChoiceField(StepKind.choices)
    why = serializers.CharField()
    status = serializers.ChoiceField(StepStatus.choices)
    decided_by = serializers.CharField(source="decided_by.email", default=None, allow_null=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField()


class TaskListOutput(serializers.Serializer):
    """A task as lists show it. Milliseconds and micro-dollars are exact; the decimals are rounded down."""

    id = serializers.UUIDField()
    title = serializers.CharField()
    kind = serializers.CharField()
    status = serializers.ChoiceField(TaskStatus.choices)
    is_cancelling = serializers.BooleanField()
    account = serializers.UUIDField(source="account_id")
    submitted_by = serializers.CharField(source="submitted_by.email")
    funding = serializers.ChoiceField(Funding.choices)
    contract = serializers.UUIDField(
        source="contract_id",
        allow_null=True,
        help_text="Whose reserved hours pay, also where another funding was asked for.",
    )
    gpus = serializers.IntegerField()
    hours = HoursField(source="asked_ms", allow_null=True, help_text="Null: it goes on until it is ended.")
    priority = serializers.IntegerField()
    cost_code = serializers.CharField()
    retry_of = serializers.UUIDField(source="retry_of_id", allow_null=True)
    waiting_reason = WaitingOutput(source="waiting", allow_null=True)
    exit_code = serializers.IntegerField(allow_null=True)
    failure = serializers.SerializerMethodField()
    gpu_ms = serializers.IntegerField()
    hours_held = serializers.SerializerMethodField()
    held_gpu_ms = serializers.SerializerMethodField()
    hours_charged = HoursField(source="gpu_ms")
    cost_usd = UsdField(source="cost_microusd")
    cost_microusd = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    approved_at = serializers.DateTimeField(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)

    @extend_schema_field(FailureOutput(allow_null=True))
    def get_failure(self, task: Task) -> dict[str, str] | None:
        if not task.failure_code:
            return None
        return {"code": task.failure_code, "detail": task.failure_detail, "fault": task.failure_fault}

    def get_hours_held(self, task: Task) -> str:
        return show_hours(self.get_held_gpu_ms(task))

    def get_held_gpu_ms(self, task: Task) -> int:
        """Hours on hold; 0 for a task that pays with money or has ended."""
        if task.funding == Funding.WALLET or task.is_terminal:
            return 0
        return task.gpus * task.limit_ms - task.gpu_ms


class TaskOutput(TaskListOutput):
    spec = serializers.JSONField()
    env_names = serializers.SerializerMethodField(help_text="Names only; values are never shown.")
    secret_names = serializers.ListField(child=serializers.CharField(), help_text="Names only.")
    min_vram_mib = serializers.IntegerField(allow_null=True)
    gpu_model = serializers.CharField()
    min_compute_capability = CapabilityField(allow_null=True)
    labels = serializers.DictField(child=serializers.CharField())
    region = serializers.CharField()
    host = serializers.UUIDField(source="host_id", allow_null=True)
    max_price_per_hour_usd = UsdField(source="max_price_per_hour", allow_null=True)
    retries = serializers.IntegerField()
    wait_until = serializers.DateTimeField(allow_null=True)
    position = serializers.SerializerMethodField(help_text="Place in the queue from 1; null when not queued.")
    progress = serializers.SerializerMethodField(help_text='The program\'s last report: {"step", "of", "metrics"}.')
    approval_steps = StepOutput(many=True)
    result = serializers.JSONField(allow_null=True, help_text="$GAAS_OUTPUT/result.json of the last attempt.")
    inputs = GivenFile(many=True)
    files_note = serializers.SerializerMethodField(help_text="Which files the last attempt left that were not kept.")
    hold_lasts_until = serializers.SerializerMethodField(
        help_text="While it runs: until when its hold lasts. Then it ends, unless it goes on and is prolonged."
    )

    def get_env_names(self, task: Task) -> list[str]:
        return sorted(task.env)

    def get_position(self, task: Task) -> int | None:
        if task.status != TaskStatus.APPROVED:
            return None
        return Task.objects.ahead_of(task)[:1000].count() + 1

    @extend_schema_field(serializers.JSONField(allow_null=True))
    def get_progress(self, task: Task) -> Any:
        return self._last(task)[0]

    def get_files_note(self, task: Task) -> str:
        return self._last(task)[1]

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_hold_lasts_until(self, task: Task) -> Any:
        until = self._last(task)[2] if task.status == TaskStatus.PROCESSING else None
        return None if until is None else serializers.DateTimeField().to_representation(until)

    def _last(self, task: Task) -> tuple[Any, str, Any]:
        """Read of the last attempt what is shown with its task, once."""
        if not task.epoch:
            return None, "", None
        if not hasattr(task, "_last_attempt"):
            rows = task.attempts.filter(epoch=task.epoch).values_list("progress", "files_note", "runs_out_at")
            task._last_attempt = rows.first() or (None, "", None)
        return task._last_attempt


class QuoteOutput(serializers.Serializer):
    """What a submit of the same body would do. Amounts are exact integers beside their decimals."""

    funding = serializers.ChoiceField(
        Funding.choices,
        source="plan.task.funding",
        help_text="`reserved` also where a host is named on which the account has reserved hours that cover it.",
    )
    contract = serializers.UUIDField(source="plan.task.contract_id", allow_null=True)
    hours = HoursField(source="plan.task.asked_ms", allow_null=True, help_text="Null: until it is ended.")
    gpus = serializers.IntegerField(source="plan.task.gpus")
    gpu_ms_held = serializers.SerializerMethodField()
    hours_held = serializers.SerializerMethodField()
    cost_microusd_held = serializers.SerializerMethodField()
    cost_usd_held = serializers.SerializerMethodField()
    max_price_per_hour_usd = UsdField(source="plan.task.max_price_per_hour", allow_null=True)
    pays = serializers.UUIDField(source="plan.task.payer_id", help_text="The account whose balance is held.")
    available = serializers.SerializerMethodField(help_text="On that balance now: hours or USD by funding.")
    left = serializers.SerializerMethodField(help_text="What would be left of it; null when it is not enough.")
    approvals = serializers.SerializerMethodField()
    gpus_free = serializers.IntegerField(source="fitting_free", help_text="GPUs that fit and are free now.")
    gpus_fitting = serializers.IntegerField(source="fitting_listed", help_text="GPUs that fit, free or not.")
    cheapest_per_hour_usd = UsdField(source="cheapest_per_hour", allow_null=True)
    position = serializers.IntegerField(allow_null=True, help_text="Place in the queue; null beyond a thousand.")
    starts = serializers.CharField(help_text="Likely start, in words.")
    waiting_reason = serializers.SerializerMethodField(help_text="Why it would wait; null when it would not.")
    refusal = serializers.SerializerMethodField(help_text="The error a submit would get now; null when none.")

    def get_gpu_ms_held(self, quote: Quote) -> int:
        return quote.plan.to_hold if quote.plan.task.funding != Funding.WALLET else 0

    def get_hours_held(self, quote: Quote) -> str:
        return show_hours(self.get_gpu_ms_held(quote))

    def get_cost_microusd_held(self, quote: Quote) -> int:
        return quote.plan.to_hold if quote.plan.task.funding == Funding.WALLET else 0

    def get_cost_usd_held(self, quote: Quote) -> str:
        return show_micro(self.get_cost_microusd_held(quote))

    def get_available(self, quote: Quote) -> str:
        return self._shown(quote, quote.plan.available)

    def get_left(self, quote: Quote) -> str | None:
        left = quote.plan.available - quote.plan.to_hold
        return None if left < 0 else self._shown(quote, left)

    def _shown(self, quote: Quote, amount: int) -> str:
        return show_micro(amount) if quote.plan.task.funding == Funding.WALLET else show_hours(amount)

    @extend_schema_field(serializers.ListField(child=serializers.DictField(child=serializers.CharField())))
    def get_approvals(self, quote: Quote) -> list[dict[str, str]]:
        return [{"kind": step.kind, "why": step.why} for step in quote.plan.steps]

    @extend_schema_field(WaitingOutput(allow_null=True))
    def get_waiting_reason(self, quote: Quote) -> dict[str, str] | None:
        return quote.waiting.as_json() if quote.waiting else None

    @extend_schema_field(serializers.DictField(child=serializers.CharField(), allow_null=True))
    def get_refusal(self, quote: Quote) -> dict[str, str] | None:
        refusal = quote.refusal
        return {"code": refusal.code, "detail": refusal.detail, "attr": refusal.attr or ""} if refusal else None


class EventOutput(serializers.Serializer):
    id = serializers.UUIDField()
    from_status = serializers.CharField()
    to_status = serializers.CharField()
    by = serializers.CharField(source="by_label")
    reason = serializers.CharField()
    at = serializers.DateTimeField()


class PhaseOutput(serializers.Serializer):
    text = serializers.CharField()
    percent = serializers.IntegerField(allow_null=True)


class AttemptOutput(serializers.Serializer):
    id = serializers.UUIDField()
    epoch = serializers.IntegerField()
    status = serializers.ChoiceField(AttemptStatus.choices)
    fault = serializers.CharField()
    host = serializers.CharField(source="host.name")
    sandbox = serializers.CharField(source="host.sandbox", help_text="bubblewrap or none")
    gpus = serializers.SerializerMethodField()
    offered_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    metered_ms = serializers.IntegerField()
    progress = serializers.JSONField(allow_null=True)
    phase = serializers.SerializerMethodField(help_text='What its host does for it: {"text", "percent"}, or null.')
    usage = serializers.JSONField()
    log_size = serializers.IntegerField()
    log_removed_at = serializers.DateTimeField(
        allow_null=True, help_text="Its time was over; null while there is a log."
    )
    is_log_suspect = serializers.BooleanField(help_text="It arrived otherwise than its host wrote it, three times.")
    exit_code = serializers.IntegerField(allow_null=True)
    failure_code = serializers.CharField()
    failure_detail = serializers.CharField()
    files_note = serializers.CharField(help_text="Which files it left that were not kept, and why.")

    @extend_schema_field(PhaseOutput(allow_null=True))
    def get_phase(self, attempt: Any) -> Any:
        return attempt.phase if attempt.is_open else None

    @extend_schema_field(serializers.ListField(child=serializers.DictField()))
    def get_gpus(self, attempt: Any) -> list[dict[str, Any]]:
        return [
            {"uuid": link.gpu.uuid, "model": link.gpu.model, "simulated": link.gpu.is_simulated}
            for link in attempt.gpu_links.all()
        ]


class ApprovalOutput(StepOutput):
    """A step that waits for the caller, with what it is about."""

    task = TaskListOutput()
