"""Attempts: each try of a task on a host."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from unfold.decorators import display

from gaas.lib.admin import ViewOnlyAdmin
from tasks.admin import looks
from tasks.admin.inlines import ReadOnlyInline
from tasks.models import Attempt, AttemptGPU


class GPUInline(ReadOnlyInline):
    model = AttemptGPU
    fields = ("gpu", "price_per_hour", "is_open")
    readonly_fields = fields
    verbose_name_plural = "GPUs"


@admin.register(Attempt)
class AttemptAdmin(ViewOnlyAdmin):
    """Show attempts; hosts write them."""

    list_display = ("task", "epoch", "host", "state", "fault", "ran_for", "failure_code", "offered_at")
    list_filter = ("status", "fault")
    list_select_related = ("task", "host")
    search_fields = ("host__name__startswith", "task__title__startswith")
    search_help_text = "The beginning of a host's name or of a task's title, or an id."
    inlines = (GPUInline,)
    when_empty = "Attempts appear when the matcher gives an approved task to a host."
    exclude = ("status", "progress", "usage")
    readonly_fields = ("state", "how_far", "used")

    @display(description="Status", label=looks.ATTEMPT_LABELS)
    def state(self, attempt: Attempt) -> tuple[str, str]:
        return attempt.status, attempt.get_status_display()

    @display(description="Metered")
    def ran_for(self, attempt: Attempt) -> str:
        return looks.seconds(attempt.metered_ms or attempt.elapsed_ms)

    @display(description="Progress")
    def how_far(self, attempt: Attempt) -> Any:
        return looks.as_json(attempt.progress)

    @display(description="Usage")
    def used(self, attempt: Attempt) -> Any:
        return looks.as_json(attempt.usage)
