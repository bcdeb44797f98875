"""How states, times and logs look in this app's admin: always words, with a colour beside them."""

from __future__ import annotations

import json
from typing import Any

from django.db.models import Model
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from gaas.lib.amounts import show_bytes, show_hours
from tasks.choices import AttemptStatus, FileStatus, StepStatus, TaskStatus
from tasks.models import Task
from tasks.services.watch import live_context

TASK_LABELS = {
    TaskStatus.PENDING: "warning",
    TaskStatus.APPROVED: "info",
    TaskStatus.ASSIGNED: "info",
    TaskStatus.PROCESSING: "primary",
    TaskStatus.COMPLETED: "success",
    TaskStatus.FAILED: "danger",
    TaskStatus.CANCELLED: "default",
    TaskStatus.REJECTED: "danger",
    TaskStatus.EXPIRED: "default",
}
ATTEMPT_LABELS = {
    AttemptStatus.OFFERED: "info",
    AttemptStatus.PREPARING: "info",
    AttemptStatus.RUNNING: "primary",
    AttemptStatus.SUCCEEDED: "success",
    AttemptStatus.FAILED: "danger",
    AttemptStatus.CANCELLED: "default",
    AttemptStatus.TIMED_OUT: "danger",
    AttemptStatus.LOST: "danger",
    AttemptStatus.REFUSED: "warning",
}
STEP_LABELS = {
    StepStatus.PENDING: "warning",
    StepStatus.APPROVED: "success",
    StepStatus.REJECTED: "danger",
    StepStatus.VOID: "default",
}
FILE_LABELS = {FileStatus.OPEN: "warning", FileStatus.WHOLE: "success", FileStatus.REMOVED: "default"}


def as_json(value: Any) -> SafeString | str:
    """Show a JSON value indented."""
    if value in (None, {}, []):
        return "—"
    return preformatted(json.dumps(value, indent=2, ensure_ascii=False))


def preformatted(text: str) -> SafeString:
    """Show text as it is; whatever a program wrote stays text. The box can be reached and scrolled by keyboard."""
    return format_html('<pre class="gaas-pre" tabindex="0" role="region" aria-label="text">{}</pre>', text)


def live(task: Task) -> SafeString:
    """Show the log of a task and what happens to it while it does (live-log.js)."""
    return render_to_string("tasks/live.html", live_context(task))


def link(obj: Model, text: str) -> SafeString:
    """Lead to the admin's page of an object."""
    address = reverse(f"admin:{obj._meta.app_label}_{obj._meta.model_name}_change", args=[obj.pk])
    return format_html('<a href="{}" class="text-primary-600 dark:text-primary-500 underline">{}</a>', address, text)


def hours(ms: int) -> str:
    """Write hours without the zeros behind: 2, 0.5, 0.002236."""
    return show_hours(ms).rstrip("0").rstrip(".")


def seconds(ms: int) -> str:
    """Write milliseconds for people: 8.1 s, 12 min 5 s, 3 h 20 min."""
    total = ms // 1000
    if total < 60:
        return f"{ms / 1000:.1f} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s"
    return f"{total // 3600} h {total % 3600 // 60} min"


def inputs_of(task: Task) -> SafeString | str:
    """List the files a task is given, with whence they came."""
    if not task.inputs:
        return "—"
    rows = (
        (
            entry["path"],
            show_bytes(entry["size"]),
            f"task {entry['task']}" if "task" in entry else "an upload",
            entry["sha256"],
        )
        for entry in task.inputs
    )
    return format_html("<ul>{}</ul>", format_html_join("", '<li title="SHA-256 {3}">{0}: {1}, from {2}</li>', rows))


def results_of(task: Task, most: int = 50) -> SafeString | str:
    """List what the attempts of a task left, each to be saved; never shown on this origin."""
    found = task.artifacts.kept().select_related("file", "attempt").order_by("-attempt__epoch", "name")[: most + 1]
    rows = [
        (f"/api/v1/tasks/{task.pk}/artifacts/{row.pk}/content/", row.name, show_bytes(row.file.size), row.attempt.epoch)
        for row in found
    ]
    if not rows:
        return "—"
    more = format_html("<li>and more: see the API</li>") if len(rows) > most else ""
    listed = format_html_join(
        "", '<li><a class="underline" href="{}" download>{}</a>: {}, attempt {}</li>', rows[:most]
    )
    return format_html("<ul>{}{}</ul>", listed, more)
