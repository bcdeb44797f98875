"""Approval steps: who decided what, and what still waits."""

from __future__ import annotations

from django.contrib import admin
from unfold.decorators import display

from gaas.lib.admin import ViewOnlyAdmin
from tasks.admin import looks
from tasks.models import ApprovalStep


@admin.register(ApprovalStep)
class ApprovalStepAdmin(ViewOnlyAdmin):
    """Show steps; they are decided on the task's page."""

    list_display = ("task", "kind", "why", "state", "decided_by", "decided_at")
    list_filter = ("status", "kind")
    list_select_related = ("task", "decided_by")
    search_fields = ("task__title__startswith",)
    search_help_text = "The beginning of a task's title, or an id."
    fields = ("task", "kind", "why", "status", "decided_by", "decided_at", "reason")
    readonly_fields = ("status", "decided_by", "decided_at", "reason")
    when_empty = "Approvals appear with the first task that is submitted."

    @display(description="Status", label=looks.STEP_LABELS)
    def state(self, step: ApprovalStep) -> tuple[str, str]:
        return step.status, step.get_status_display()
