"""Pages on which people watch their tasks; submitting and deciding is the API's and the admin's."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from gaas.lib import clock
from gaas.lib.amounts import show_bytes, show_hours, show_micro
from tasks.choices import TERMINAL, Funding, TaskStatus
from tasks.models import Task
from tasks.services.reading import read_log_of
from tasks.services.watch import live_context

MOST = 50


@require_safe
@login_required
def tasks(request: HttpRequest) -> HttpResponse:
    """List the newest tasks that the caller sees."""
    found = Task.objects.visible_to(request.user).select_related("submitted_by", "account").order_by("-id")
    shown = found.defer("spec", "env", "inputs", "result", "labels")[:MOST]
    return render(request, "tasks/tasks.html", {"tasks": shown, "title": "Tasks"})


@require_safe
@login_required
def task(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show a task as it goes on: its state, its log, what happened to it and what it cost."""
    found = Task.objects.visible_to(request.user).select_related("submitted_by", "account").filter(pk=pk).first()
    if found is None:
        raise Http404
    read_log_of(found, by=request.user, now=clock.now())
    context: dict[str, Any] = {
        **live_context(found),
        "title": found.title,
        "is_over": found.status in TERMINAL,
        "events": found.events.order_by("id")[:200],
        "given": [{**entry, "shown": show_bytes(entry["size"])} for entry in found.inputs],
        "left": _left(found),
        "lasts_until": _lasts_until(found),
        "files_note": found.attempts.filter(epoch=found.epoch).values_list("files_note", flat=True).first(),
        "cost": (
            f"{show_hours(found.gpu_ms)} GPU-hours"
            if found.funding != Funding.WALLET
            else f"{show_micro(found.cost_microusd)} USD"
        ),
    }
    return render(request, "tasks/task.html", context)


def _lasts_until(found: Task) -> datetime | None:
    """Tell until when a running task's hold lasts."""
    if found.status != TaskStatus.PROCESSING:
        return None
    return found.attempts.filter(epoch=found.epoch).values_list("runs_out_at", flat=True).first()


def _left(found: Task) -> list[dict[str, Any]]:
    """Give what the task's attempts left, the newest attempt first, with sizes for people."""
    rows = found.artifacts.kept().select_related("file", "attempt").order_by("-attempt__epoch", "name")[:MOST]
    return [{"row": row, "shown": show_bytes(row.file.size)} for row in rows]
