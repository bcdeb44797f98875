"""What an attempt's GPUs did, and how its program went, drawn for the admin."""

from __future__ import annotations

from datetime import timedelta

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from gaas.lib import clock
from gaas.lib.charts import Chart
from gpus.looks import POINTS, gpu_charts
from tasks.models import Attempt
from tasks.services import read_curves

MOST_METRICS = 12


def of_attempt(attempt: Attempt | None) -> SafeString | str:
    """Draw everything about one attempt that was measured or told over time: three queries."""
    if attempt is None or attempt.started_at is None:
        return "Nothing has started yet."
    now = clock.now()
    curves = read_curves(attempt, now=now, most=POINTS)
    until = max(attempt.ended_at or now, attempt.started_at + timedelta(seconds=1))
    drawn = [(gpu_charts(one.gpu, one.samples, since=attempt.started_at, until=until),) for one in curves.gpus]
    seconds = (until - attempt.started_at).total_seconds()
    names = sorted({name for point in curves.progress for name in point.metrics})[:MOST_METRICS]
    told = [
        (
            Chart(
                name,
                "",
                [(float(point.second), point.metrics[name]) for point in curves.progress if name in point.metrics],
                0.0,
                seconds,
            ).svg(_after, key=f"m-{attempt.pk}-{number}"),
        )
        for number, name in enumerate(names)
    ]
    if told:
        drawn.append((format_html('<div class="gaas-charts">{}</div>', format_html_join("", "{}", told)),))
    return format_html_join("", "{}", drawn)


def _after(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))
