"""What belongs to a task, on its page: read, never edited."""

from __future__ import annotations

from typing import Any

from unfold.decorators import display

from gaas.lib.admin import ReadOnlyInline
from tasks.admin import looks
from tasks.choices import TaskStatus
from tasks.models import ApprovalStep, Attempt, TaskEvent


class StepInline(ReadOnlyInline):
    model = ApprovalStep
    fields = ("kind", "asked_because", "status", "decided_by", "decided_at", "reason")
    readonly_fields = fields
    ordering = ("position",)
    verbose_name_plural = "Approvals"

    @display(description="Asked because")
    def asked_because(self, step: ApprovalStep) -> str:
        return step.why


class AttemptInline(ReadOnlyInline):
    model = Attempt
    fields = ("number", "host", "status", "fault", "started_at", "ended_at", "ran_for", "exit_code", "failure_detail")
    readonly_fields = fields
    verbose_name_plural = "Attempts"

    @display(description="No.")
    def number(self, attempt: Attempt) -> Any:
        return looks.link(attempt, str(attempt.epoch))

    @display(description="Metered")
    def ran_for(self, attempt: Attempt) -> str:
        return looks.seconds(attempt.metered_ms or attempt.elapsed_ms)


class EventInline(ReadOnlyInline):
    model = TaskEvent
    fields = ("at", "became", "by_whom", "reason")
    readonly_fields = fields
    verbose_name_plural = "What happened"

    @display(description="Became")
    def became(self, event: TaskEvent) -> str:
        if event.from_status == event.to_status:
            return "—"
        return TaskStatus(event.to_status).label

    @display(description="By")
    def by_whom(self, event: TaskEvent) -> str:
        return event.by_label
