"""Tasks: the workbench on which they are approved, watched and ended."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.decorators import display
from unfold.enums import ActionVariant

from gaas.lib import clock
from gaas.lib.admin import ViewOnlyAdmin
from gaas.lib.amounts import show_hours, show_micro
from gaas.lib.reasons import OptionalReasonForm, ReasonForm, verb_action
from tasks import services
from tasks.admin import curves, looks
from tasks.admin.forms import ApproveForm
from tasks.admin.inlines import AttemptInline, EventInline, StepInline
from tasks.choices import LIVE, TERMINAL, Funding, TaskStatus
from tasks.models import Task
from tasks.services.reading import read_log_of
from tasks.services.watch import tail_of

LOG_TAIL_BYTES = 16 * 1024


@admin.register(Task)
class TaskAdmin(ViewOnlyAdmin):
    """Show tasks; every change is a verb. A task is submitted over the API or the browsable pages."""

    list_display = ("title_and_reason", "who_pays", "asks_and_pays", "state", "hours_charged", "submitted")
    list_filter = ("status", "funding", "kind")
    list_select_related = ("submitted_by", "account")
    search_fields = ("title__startswith", "submitted_by__email__startswith", "cost_code__exact")
    search_help_text = "The beginning of a title or of an e-mail address, a cost code, or an id."
    actions = ("approve", "reject", "cancel")
    actions_detail = ("approve_with", "reject", "cancel", "complete", "allow_idle")
    inlines = (StepInline, AttemptInline, EventInline)
    when_empty = "Nobody has submitted a task yet: POST /api/v1/tasks/, or the form on that page in a browser."

    class Media:
        css = {"all": ("live-log.css",)}
        js = ("live-log.js",)

    fieldsets = (
        (
            None,
            {
                "fields": (
                    "title",
                    ("status_in_words", "waits"),
                    ("who", "for_account"),
                    ("pays", "paid_by"),
                    ("asks_for", "held"),
                    ("charged", "cost"),
                    ("priority", "position"),
                )
            },
        ),
        ("Program", {"fields": ("kind", "program", "env_names", "given")}),
        (
            "Where it may run",
            {
                "classes": ("collapse",),
                "fields": (
                    ("gpus", "min_vram_mib", "gpu_model", "min_compute_capability"),
                    ("region", "host", "labels"),
                    ("retries", "wait_until", "retry_of", "cost_code"),
                ),
            },
        ),
        ("Outcome", {"fields": (("exit_code", "failure"), "outcome", "curves", "results", "not_kept", "log_tail")}),
        ("Times", {"fields": (("created_at", "approved_at"), ("started_at", "finished_at"))}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        tasks = super().get_queryset(request)
        match = request.resolver_match
        if match is not None and match.url_name == "tasks_task_changelist":
            return tasks.defer("spec", "env", "secrets", "inputs", "result", "labels")
        return tasks.select_related("account", "payer", "submitted_by", "hold", "host")

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Task | None:
        """Give the task of a page, which shows its log."""
        task = super().get_object(request, object_id, from_field)
        match = request.resolver_match
        if task is not None and request.method == "GET" and match and match.url_name == "tasks_task_change":
            read_log_of(task, by=request.user, now=clock.now())
        return task

    def get_readonly_fields(self, request: HttpRequest, obj: Task | None = None) -> tuple[str, ...]:
        names: list[str] = []
        for _, options in self.fieldsets:
            for field in options["fields"]:
                names += field if isinstance(field, tuple) else [field]
        return tuple(names)

    def get_fieldsets(self, request: HttpRequest, obj: Task | None = None) -> Any:
        """Show first what is to be decided on, and what came of it once it has run."""
        first, *others = self.fieldsets
        if obj is not None and obj.status != TaskStatus.PENDING:
            others.sort(key=lambda part: part[0] != "Outcome")
        return (first, *others)

    def get_inlines(self, request: HttpRequest, obj: Task | None) -> list[Any]:
        # An empty table of attempts tells less than none.
        inlines = list(super().get_inlines(request, obj))
        if obj is not None and not obj.attempts.exists():
            inlines.remove(AttemptInline)
        return inlines

    @verb_action(description="Approve", done="approved", permissions=["approve"], icon="check")
    def approve(self, request: HttpRequest, task: Task, data: dict[str, Any]) -> None:
        services.approve(task, by=request.user, now=clock.now())

    @verb_action(
        description="Approve",
        done="approved",
        form=ApproveForm,
        permissions=["approve"],
        icon="check",
        variant=ActionVariant.SUCCESS,
        applies=lambda task: task.status == TaskStatus.PENDING,
    )
    def approve_with(self, request: HttpRequest, task: Task, data: dict[str, Any]) -> None:
        services.approve(
            task,
            by=request.user,
            reason=data["reason"],
            limit_ms=data["hours"],
            priority=data["priority"],
            now=clock.now(),
        )

    @verb_action(
        description="Reject",
        done="rejected",
        form=ReasonForm,
        permissions=["approve"],
        icon="close",
        variant=ActionVariant.DANGER,
        applies=lambda task: task.status == TaskStatus.PENDING,
    )
    def reject(self, request: HttpRequest, task: Task, data: dict[str, Any]) -> None:
        services.reject(task, by=request.user, reason=data["reason"], now=clock.now())

    @verb_action(
        description="Cancel",
        done="cancelled or being cancelled",
        form=OptionalReasonForm,
        permissions=["operate"],
        icon="cancel",
        applies=lambda task: task.status in LIVE and not task.cancel_requested_at,
    )
    def cancel(self, request: HttpRequest, task: Task, data: dict[str, Any]) -> None:
        services.cancel(task, by=request.user, reason=data["reason"], now=clock.now())

    @verb_action(
        description="Complete",
        done="being completed",
        form=ReasonForm,
        permissions=["operate"],
        icon="done_all",
        applies=lambda task: task.status == TaskStatus.PROCESSING and not task.cancel_requested_at,
    )
    def complete(self, request: HttpRequest, task: Task, data: dict[str, Any]) -> None:
        services.complete(task, by=request.user, reason=data["reason"], now=clock.now())

    @verb_action(
        description="Let it idle",
        done="allowed to idle",
        form=ReasonForm,
        permissions=["operate"],
        icon="bedtime",
        applies=lambda task: task.status in LIVE and not task.may_idle,
    )
    def allow_idle(self, request: HttpRequest, task: Task, data: dict[str, Any]) -> None:
        services.allow_idle(task, by=request.user, reason=data["reason"], now=clock.now())

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Whoever is to decide must see what.
        return (
            super().has_view_permission(request, obj)
            or self.has_approve_permission(request, obj)
            or self.has_operate_permission(request, obj)
        )

    def has_approve_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("tasks.approve_task"))

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("tasks.operate_task"))

    @display(description="Task", header=True)
    def title_and_reason(self, task: Task) -> list[str]:
        return [task.title, task.waiting["detail"] if task.waiting and task.status == TaskStatus.APPROVED else ""]

    @display(description="Submitted by", header=True)
    def who_pays(self, task: Task) -> list[str]:
        return [task.submitted_by.email, f"for {task.account}"]

    @display(description="Asks for", header=True)
    def asks_and_pays(self, task: Task) -> list[str]:
        source = {Funding.QUOTA: "quota", Funding.WALLET: "wallet"}.get(task.funding, "reservation")
        return [self.asks_for(task), f"from the {source}"]

    @display(description="Submitted by")
    def who(self, task: Task) -> str:
        return task.submitted_by.email

    @display(description="Account")
    def for_account(self, task: Task) -> str:
        return str(task.account)

    @display(description="Payer")
    def paid_by(self, task: Task) -> str:
        return str(task.payer)

    @display(description="Paid with")
    def pays(self, task: Task) -> str:
        if task.funding == Funding.RESERVED:
            return f"reserved hours of {task.contract}"
        if task.funding == Funding.QUOTA:
            return "hours"
        return f"money, up to {show_micro(task.max_price_per_hour or 0)} USD an hour"

    @display(description="Asks for")
    def asks_for(self, task: Task) -> str:
        if task.is_open_ended:
            return f"{task.gpus} GPU until it is ended; paid for {looks.hours(task.limit_ms)} h"
        return f"{task.gpus} GPU × {looks.hours(task.limit_ms)} h"

    @display(description="On hold")
    def held(self, task: Task) -> str:
        if task.status in TERMINAL:
            return "nothing: it has ended"
        rest = task.hold.open_amount
        said = f"{looks.hours(rest)} GPU-hours" if task.funding != Funding.WALLET else f"{show_micro(rest)} USD"
        if task.status != TaskStatus.PROCESSING:
            return said
        until = task.attempts.filter(epoch=task.epoch).values_list("runs_out_at", flat=True).first()
        return f"{said}, which lasts until {until:%Y-%m-%d %H:%M} UTC" if until else said

    @display(description="Status", label=looks.TASK_LABELS)
    def state(self, task: Task) -> tuple[str, str]:
        words = "Waiting for GPUs" if task.status == TaskStatus.APPROVED else task.get_status_display()
        return task.status, "Cancelling" if task.is_cancelling else words

    @display(description="Status")
    def status_in_words(self, task: Task) -> str:
        return "Cancelling: its host ends the program" if task.is_cancelling else task.get_status_display()

    @display(description="Charged, GPU-hours")
    def charged(self, task: Task) -> str:
        return show_hours(task.gpu_ms) if task.gpu_ms else "—"

    @display(description="Charged, h")
    def hours_charged(self, task: Task) -> str:
        return self.charged(task)

    @display(description="Cost, USD")
    def cost(self, task: Task) -> str:
        return show_micro(task.cost_microusd) if task.funding == Funding.WALLET else "—"

    @display(description="Submitted")
    def submitted(self, task: Task) -> str:
        return naturaltime(task.created_at)

    @display(description="Why it waits")
    def waits(self, task: Task) -> str:
        if task.status == TaskStatus.PENDING:
            return "For an approval: Approve or Reject above."
        if task.status != TaskStatus.APPROVED or not task.waiting:
            return "—"
        return f"{task.waiting['detail']} {task.waiting['hint']}"

    @display(description="Place in the queue")
    def position(self, task: Task) -> str:
        if task.status != TaskStatus.APPROVED:
            return "—"
        ahead = Task.objects.ahead_of(task)[:1000].count()
        return str(ahead + 1) if ahead < 1000 else "beyond 1000"

    @display(description="Program")
    def program(self, task: Task) -> Any:
        return looks.preformatted(task.spec["script"]) if "script" in task.spec else looks.as_json(task.spec)

    @display(description="Environment (names)")
    def env_names(self, task: Task) -> str:
        shown = [*sorted(task.env), *(f"{name} (secret)" for name in task.secret_names)]
        return ", ".join(shown) or "—"

    @display(description="Failure")
    def failure(self, task: Task) -> str:
        if not task.failure_code:
            return "—"
        return f"{task.failure_code}: {task.failure_detail} (fault: {task.get_failure_fault_display()})"

    @display(description="Curves")
    def curves(self, task: Task) -> Any:
        return curves.of_attempt(task.attempts.started().first())

    @display(description="Result")
    def outcome(self, task: Task) -> Any:
        return looks.as_json(task.result)

    @display(description="Files it is given")
    def given(self, task: Task) -> Any:
        return looks.inputs_of(task)

    @display(description="Files it left")
    def results(self, task: Task) -> Any:
        return looks.results_of(task)

    @display(description="Files not kept")
    def not_kept(self, task: Task) -> str:
        note = task.attempts.filter(epoch=task.epoch).values_list("files_note", flat=True).first()
        return note or "—"

    @display(description="Log")
    def log_tail(self, task: Task) -> Any:
        """Show the log's end: as it stands of what has ended, else as it grows."""
        return self._tail(task) if task.is_terminal else looks.live(task)

    def _tail(self, task: Task) -> Any:
        attempt = task.attempts.filter(log_size__gt=0).order_by("-epoch").first()
        if attempt is None:
            return "Nothing was written yet."
        begin = max(0, attempt.log_size - LOG_TAIL_BYTES)
        text = tail_of(attempt, LOG_TAIL_BYTES)
        cut = format_html("<p>The last {} of {} bytes.</p>", LOG_TAIL_BYTES, attempt.log_size) if begin else ""
        return format_html("{}{}", cut, looks.preformatted(text))
