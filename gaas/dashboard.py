"""The first page of the admin: what waits for a person, what runs, what the fleet does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.db.models import Avg, Count, Model, Sum
from django.db.models.functions import TruncDate
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode

from accounts.choices import QuotaRequestStatus
from accounts.ledger.admin.checks import shown
from accounts.ledger.choices import CheckStatus
from accounts.ledger.models import CheckRun
from accounts.models import QuotaRequest
from gaas.lib import clock
from gaas.lib.amounts import show_hours
from gaas.lib.charts import Chart, clock_words
from gpus.choices import Availability
from gpus.models import GPU, GPUSample, Host
from payments.choices import PayoutStatus, Provider
from payments.models import Charge, Payout, Statement
from tasks.admin import looks
from tasks.choices import TaskStatus
from tasks.models import Task

DAYS = 14
# A count stops here: beyond it the exact number helps nobody and costs time.
COUNTED = 1000
OLDEST = 5
# The nightly check of the books may take a while and a worker be busy.
OVERDUE_HOURS = 26


def fill(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add cards, GPU states and the hours of the last two weeks, each only for who may see those rows."""
    tasks, requests = _may(request, Task), _may(request, QuotaRequest)
    context["cards"] = [*(_task_cards() if tasks else []), *([_quota_card()] if requests else [])]
    if _may(request, Payout):
        context["cards"].extend(_payout_cards())
    if tasks:
        pending = Task.objects.filter(status=TaskStatus.PENDING).select_related("submitted_by").order_by("pk")
        context["pending"] = [_line(task) for task in pending.defer("spec", "env", "secrets", "result")[:OLDEST]]
    if _may(request, CheckRun):
        context["books"] = _books(request)
    if _may(request, Statement):
        context["books_by_month"] = reverse("admin:payments_statement_books")
    if _may(request, GPU):
        context["utilisation"] = _utilisation()
        context["fleet"] = _fleet(may_add=admin.site.get_model_admin(Host).has_add_permission(request))
    if _may(request, Charge):
        context["hours"] = _hours()
    return context


def _may(request: HttpRequest, model: type[Model]) -> bool:
    return bool(admin.site.get_model_admin(model).has_view_permission(request))


def _task_cards() -> list[dict[str, Any]]:
    states = (
        ("Waiting for approval", TaskStatus.PENDING, "Nothing waits for you."),
        ("Waiting for GPUs", TaskStatus.APPROVED, "The queue is empty."),
        ("Running", TaskStatus.PROCESSING, "Nothing runs."),
    )
    return [
        _card(title, Task.objects.filter(status=status), "tasks_task", {"status__exact": status}, empty)
        for title, status, empty in states
    ]


def _quota_card() -> dict[str, Any]:
    query = {"status__exact": str(QuotaRequestStatus.PENDING)}
    return _card(
        "Quota requests", QuotaRequest.objects.pending(), "accounts_quotarequest", query, "Nobody asks for hours."
    )


def _payout_cards() -> list[dict[str, Any]]:
    asked, agreed = PayoutStatus.REQUESTED, PayoutStatus.APPROVED
    by_hand = Payout.objects.filter(status=agreed).exclude(provider=Provider.STRIPE)
    page, query = "payments_payout", {"status__exact": str(agreed)}
    return [
        _card(
            "Payouts to approve",
            Payout.objects.filter(status=asked),
            page,
            {"status__exact": str(asked)},
            "Nobody asks for a payout.",
        ),
        _card("Payouts to send", by_hand, page, query, "Nothing is to be sent by hand."),
    ]


def _card(title: str, rows: Any, page: str, query: dict[str, str], empty: str) -> dict[str, Any]:
    count = rows.order_by()[: COUNTED + 1].count()
    return {
        "title": title,
        "count": f"{COUNTED}+" if count > COUNTED else str(count),
        "href": _list(page, **query),
        "note": "" if count else empty,
    }


def _line(task: Task) -> dict[str, Any]:
    return {
        "title": task.title,
        "href": reverse("admin:tasks_task_change", args=[task.pk]),
        "who": task.submitted_by.email,
        "asks": f"{task.gpus} GPU × {looks.hours(task.limit_ms)} h",
        "since": naturaltime(task.created_at),
    }


def _fleet(*, may_add: bool) -> dict[str, Any]:
    gpus = GPU.objects.with_availability(now=clock.now()).order_by().values_list("availability")
    counted = dict(gpus.annotate(count=Count("pk")))
    states = [
        {"label": label, "count": counted[value], "href": _list("gpus_gpu", availability=value)}
        for value, label in Availability.choices
        if value in counted
    ]
    hosts = Host.objects.speaking().count()
    return {"states": states, "hosts": hosts, "total": sum(counted.values()), "may_add": may_add}


def _utilisation() -> Any:
    """Draw what the GPUs that measure themselves did in the last hour: the mean of every fifth minute."""
    now = clock.now()
    begin = now.replace(second=0, microsecond=0) - timedelta(minutes=60 + now.minute % 5)
    moments = [begin + timedelta(minutes=5 * number) for number in range(14)]
    means = (
        GPUSample.objects.filter(step=10, at__in=moments, utilisation__isnull=False)
        .order_by("at")
        .values_list("at")
        .annotate(mean=Avg("utilisation"))
    )
    points = [(at.timestamp(), mean) for at, mean in means]
    if not points:
        return ""
    chart = Chart("Mean utilisation of the fleet", " %", points, begin.timestamp(), now.timestamp(), 100.0, 900.0)
    return chart.svg(clock_words(begin, now), key="fleet")


def _books(request: HttpRequest) -> dict[str, Any]:
    """Say what the last check of the books found and whether one is overdue; honest when there was none."""
    now = clock.now()
    runs = CheckRun.objects.order_by("-pk")
    running = runs.filter(status=CheckStatus.RUNNING).first()
    last = runs.exclude(status=CheckStatus.RUNNING).first()
    whole = runs.filter(status__in=(CheckStatus.CLEAN, CheckStatus.BROKEN)).first()
    is_live = running is not None and not running.is_silent(now=now)
    return {
        "last": last and shown(last, request),
        "took": "" if last is None or last.seconds is None else f"{last.seconds:.1f} s",
        "check": running and shown(running, request),
        "is_overdue": whole is None or whole.ended_at is None or whole.ended_at < now - timedelta(hours=OVERDUE_HOURS),
        "longest": OVERDUE_HOURS,
        "may_check": request.user.has_perm("ledger.add_checkrun") and not is_live,
    }


def _list(page: str, **query: str) -> str:
    return f"{reverse(f'admin:{page}_changelist')}?{urlencode(query)}"


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
