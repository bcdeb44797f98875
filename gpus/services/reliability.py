"""How reliable hosts are: minutes counted from their leases, day by day, and the score of the last thirty."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, OuterRef, Subquery, Sum

from gpus import windows
from gpus.choices import HostStatus
from gpus.models import GPU, Host, HostDay
from gpus.services.samples import thin_samples

DAYS = 30
# A statement of a month that just ended counts all of its days.
KEPT_DAYS = 62
# A host begins with ten good minutes: one bad first minute makes nobody unreliable.
HEAD_START = 10
# Longer without a count, and the platform itself was away: hosts could not be heard and are not blamed.
GAP = timedelta(minutes=3)
BATCH = 500


def score(up_minutes: int, minutes: int) -> float:
    """Give (up minutes + 10) / (minutes + 10)."""
    return (up_minutes + HEAD_START) / (minutes + HEAD_START)


@transaction.atomic
def count_minute(*, now: datetime) -> int:
    """Count this minute for every host that should be up; returns how many were counted.

    Once a minute however often it is called. Right after a gap in the counting nothing is counted but the gap's
    end. Announced maintenance is no minute at all.
    """
    minute = now.replace(second=0, microsecond=0)
    last = HostDay.objects.order_by("-counted_at").values_list("counted_at", flat=True).first()
    if last is not None and last >= minute:
        return 0
    expected = Host.objects.expected(now=now)
    today = minute.date()
    days = HostDay.objects.filter(day=today)
    new = expected.exclude(pk__in=days.values("host"))
    HostDay.objects.bulk_create(
        [
            HostDay(host_id=pk, day=today, counted_at=minute - timedelta(minutes=1))
            for pk in new.order_by("pk").values_list("pk", flat=True)
        ],
        ignore_conflicts=True,
    )
    due = days.filter(counted_at__lt=minute, host__in=expected)
    if last is not None and minute - last > GAP:
        due.update(counted_at=minute)
        return 0
    up = Host.objects.filter(lease_expires_at__gt=now).values("pk")
    due.filter(host__in=up).update(
        up_minutes=F("up_minutes") + 1, counted_minutes=F("counted_minutes") + 1, counted_at=minute
    )
    return due.update(counted_minutes=F("counted_minutes") + 1, counted_at=minute)


def score_hosts(*, now: datetime) -> None:
    """Write every host's score of the last thirty days, and forget days that no statement will count any more."""
    since = now.date() - timedelta(days=DAYS - 1)
    HostDay.objects.filter(day__lt=now.date() - timedelta(days=KEPT_DAYS)).delete()
    sums = (
        HostDay.objects.filter(host=OuterRef("pk"), day__gte=since)
        .order_by()
        .values("host")
        .annotate(value=(Sum("up_minutes") + HEAD_START) * 1.0 / (Sum("counted_minutes") + HEAD_START))
        .values("value")
    )
    Host.objects.filter(pk__in=HostDay.objects.filter(day__gte=since).values("host")).update(reliability=Subquery(sums))


def turn_schedules(*, now: datetime) -> int:
    """Open and close the GPUs whose schedule says so by now; returns how many."""
    due = list(GPU.objects.filter(turns_at__lte=now).order_by("turns_at")[:BATCH])
    for gpu in due:
        gpu.is_closed, gpu.turns_at = windows.turn(gpu.schedule, now)
        # Only while it is the schedule that was read: its owner may have set another one meanwhile.
        GPU.objects.filter(pk=gpu.pk, schedule=gpu.schedule).update(is_closed=gpu.is_closed, turns_at=gpu.turns_at)
    return len(due)


def turn_maintenances(*, now: datetime) -> None:
    """Begin and end the maintenances that were announced for by now."""
    begins = Host.objects.filter(status=HostStatus.ACTIVE, maintenance_from__lte=now, maintenance_until__gt=now)
    for host in begins.select_related("account")[:BATCH]:
        host.begin_maintenance(now=now)
    for host in Host.objects.filter(maintenance_until__lte=now).select_related("account")[:BATCH]:
        host.end_maintenance(now=now)


def tend_fleet(*, now: datetime) -> None:
    """Do what each minute asks for."""
    count_minute(now=now)
    turn_maintenances(now=now)
    turn_schedules(now=now)
    thin_samples(now=now)
