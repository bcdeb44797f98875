"""What belongs to a task, on its page: read, never edited."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from unfold.admin import TabularInline

from tasks.models import ApprovalStep, Attempt, TaskEvent


class ReadOnlyInline(TabularInline):
    extra = 0
    can_delete = False
    show_change_link = False
    ordering = ("-id",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Who may see the task may see what happened to it.
        return bool(request.user.has_perm("tasks.view_task"))


class StepInline(ReadOnlyInline):
    model = ApprovalStep
    fields = ("kind", "why", "status", "decided_by", "decided_at", "reason")
    readonly_fields = fields
    ordering = ("position",)
    verbose_name_plural = "Approvals"


class AttemptInline(ReadOnlyInline):
    model = Attempt
    fields = ("epoch", "host", "status", "fault", "started_at", "ended_at", "metered_ms", "exit_code", "failure_detail")
    readonly_fields = fields
    show_change_link = True
    verbose_name_plural = "Attempts"


class EventInline(ReadOnlyInline):
    model = TaskEvent
    fields = ("at", "from_status", "to_status", "by_label", "reason")
    readonly_fields = fields
    verbose_name_plural = "History"
