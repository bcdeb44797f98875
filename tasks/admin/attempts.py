"""Attempts: each try of a task on a host."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from unfold.decorators import display

from gaas.lib.admin import ViewOnlyAdmin
from gaas.lib.amounts import show_micro
from tasks.admin import curves, looks
from tasks.admin.inlines import ReadOnlyInline
from tasks.models import Attempt, AttemptGPU


class GPUInline(ReadOnlyInline):
    model = AttemptGPU
    fields = ("gpu", "price", "is_open")
    readonly_fields = fields
    verbose_name_plural = "GPUs"

    @display(description="USD an hour")
    def price(self, lent: AttemptGPU) -> str:
        return show_micro(lent.price_per_hour)


@admin.register(Attempt)
class AttemptAdmin(ViewOnlyAdmin):
    """Show attempts; hosts write them."""

    list_display = ("task", "number", "host", "state", "fault", "ran_for", "failure_code", "offered_at")
    list_filter = ("status", "fault")
    list_select_related = ("task", "host")
    search_fields = ("host__name__startswith", "task__title__startswith")
    search_help_text = "The beginning of a host's name or of a task's title, or an id."
    inlines = (GPUInline,)
    when_empty = "Attempts appear when the matcher gives an approved task to a host."
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("task", "number"),
                    ("host", "status"),
                    ("ran_for", "limit"),
                    ("fault", "exit_code"),
                    "why_it_failed",
                    "how_far",
                    "curves",
                    "used",
                )
            },
        ),
        ("Times", {"fields": (("offered_at", "prepared_from"), ("started_at", "ended_at"), "acked_at")}),
        (
            "For debugging",
            {
                "classes": ("collapse",),
                "fields": (
                    "id",
                    "started_session",
                    "started_seq",
                    ("elapsed_ms", "metered_ms"),
                    ("log_size", "log_lost_from", "is_log_suspect"),
                    ("log_pack_due_at", "log_removed_at"),
                    "log_sha256",
                ),
            },
        ),
    )
    readonly_fields = (
        "number",
        "status",
        "ran_for",
        "limit",
        "fault",
        "why_it_failed",
        "how_far",
        "curves",
        "used",
        "id",
    )

    @display(description="Try")
    def number(self, attempt: Attempt) -> int:
        return attempt.epoch

    @display(description="At most")
    def limit(self, attempt: Attempt) -> str:
        return looks.seconds(attempt.limit_ms)

    @display(description="Failure")
    def why_it_failed(self, attempt: Attempt) -> str:
        return f"{attempt.failure_code}: {attempt.failure_detail}" if attempt.failure_code else "—"

    @display(description="Status", label=looks.ATTEMPT_LABELS)
    def state(self, attempt: Attempt) -> tuple[str, str]:
        return attempt.status, attempt.get_status_display()

    @display(description="Metered")
    def ran_for(self, attempt: Attempt) -> str:
        return looks.seconds(attempt.metered_ms or attempt.elapsed_ms)

    @display(description="Progress")
    def how_far(self, attempt: Attempt) -> Any:
        return looks.as_json(attempt.phase if attempt.is_open and attempt.phase else attempt.progress)

    @display(description="Curves")
    def curves(self, attempt: Attempt) -> Any:
        return curves.of_attempt(attempt)

    @display(description="Usage")
    def used(self, attempt: Attempt) -> Any:
        return looks.as_json(attempt.usage)
