"""The first page of the admin: what waits for a person, what runs, what the fleet does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Count, Sum
from django.db.models.functions import TruncDate
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode

from accounts.models import QuotaRequest
from gaas.lib import clock
from gaas.lib.amounts import show_hours
from gpus.choices import Availability
from gpus.models import GPU, Host
from payments.models import Charge
from tasks.choices import TaskStatus
from tasks.models import Task

DAYS = 14
# A count stops here: beyond it the exact number helps nobody and costs time.
COUNTED = 1000


def fill(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add cards, GPU states and the hours of the last two weeks, each only for who may see those rows."""
    user = request.user
    context["cards"] = [card for card in _cards(user) if card]
    if user.has_perm("gpus.view_gpu"):
        context["fleet"] = _fleet()
    if user.has_perm("payments.view_charge"):
        context["hours"] = _hours()
    return context


def _cards(user: Any) -> list[dict[str, Any] | None]:
    tasks = "tasks_task"
    return [
        _card(
            user, "tasks.view_task", "Waiting for approval", Task.objects.filter(status=TaskStatus.PENDING),
            tasks, {"status__exact": TaskStatus.PENDING}, "Nothing waits for you.",
        ),
        _card(
            user, "tasks.view_task", "Waiting for GPUs", Task.objects.queue(),
            tasks, {"status__exact": TaskStatus.APPROVED}, "The queue is empty.",
        ),
        _card(
            user, "tasks.view_task", "Running", Task.objects.filter(status=TaskStatus.PROCESSING),
            tasks, {"status__exact": TaskStatus.PROCESSING}, "Nothing runs.",
        ),
        _card(
            user, "accounts.view_quotarequest", "Quota requests", QuotaRequest.objects.pending(),
            "accounts_quotarequest", {"status__exact": "PENDING"}, "Nobody asks for hours.",
        ),
    ]  # fmt: skip


def _card(user: Any, permission: str, title: str, rows: Any, page: str, query: dict[str, str], empty: str) -> Any:
    if not user.has_perm(permission):
        return None
    count = rows.order_by()[: COUNTED + 1].count()
    return {
        "title": title,
        "count": f"{COUNTED}+" if count > COUNTED else str(count),
        "href": f"{reverse(f'admin:{page}_changelist')}?{urlencode(query)}",
        "note": "" if count else empty,
    }


def _fleet() -> dict[str, Any]:
    gpus = GPU.objects.with_availability(now=clock.now()).order_by().values_list("availability")
    counted = dict(gpus.annotate(count=Count("pk")))
    return {
        "states": [(label, counted[value]) for value, label in Availability.choices if value in counted],
        "hosts": Host.objects.speaking().count(),
        "total": sum(counted.values()),
    }


def _hours() -> dict[str, Any]:
    """Sum the charged GPU-milliseconds of each of the last days, as bars of 100 units' height."""
    now = clock.now()
    today = now.date()
    begin = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS - 1)
    days = [today - timedelta(days=i) for i in range(DAYS - 1, -1, -1)]
    rows = (
        Charge.objects.filter(at__gte=begin)
        .annotate(day=TruncDate("at"))
        .values("day")
        .annotate(gpu_ms=Sum("gpu_ms"))
        .values_list("day", "gpu_ms")
        .order_by()
    )
    sums = dict(rows)
    top = max(sums.values(), default=0)
    bars = [
        {
            "day": day,
            "x": index * 40,
            "height": round(100 * sums.get(day, 0) / top) if top else 0,
            "y": 100 - (round(100 * sums.get(day, 0) / top) if top else 0),
            "hours": show_hours(sums.get(day, 0)),
        }
        for index, day in enumerate(days)
    ]
    return {"bars": bars, "total": show_hours(sum(sums.values())), "width": DAYS * 40, "days": DAYS}
