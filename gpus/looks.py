"""What GPUs did over time, as charts for the admin and the pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from gaas.lib.charts import Chart, clock_words
from gpus.models import GPU, GPUSample
from gpus.services import read_samples

POINTS = 240


def gpu_charts(gpu: GPU, samples: Sequence[GPUSample], *, since: datetime, until: datetime) -> SafeString:
    """Draw utilisation, memory, power and temperature of one GPU; what was never measured is left out."""
    kinds = (
        ("utilisation", "Utilisation", " %", 100.0),
        ("memory_mib", "Memory", " MiB", float(gpu.vram_mib)),
        ("power_w", "Power", " W", None),
        ("temperature_c", "Temperature", " °C", None),
    )
    begin, end = since.timestamp(), until.timestamp()
    words = clock_words(since, until)
    drawn = []
    for name, title, unit, top in kinds:
        points = [
            (max(begin, row.at.timestamp()), getattr(row, name)) for row in samples if getattr(row, name) is not None
        ]
        if points:
            # Idle hosts report each half minute.
            gap = max(90.0, 2.5 * max((row.step for row in samples), default=0))
            chart = Chart(f"{title} of GPU {gpu.index}", unit, points, begin, end, top, gap)
            drawn.append((chart.svg(words, key=f"c-{gpu.pk}-{name}"),))
    if not drawn:
        why = "Simulated GPUs measure nothing." if gpu.is_simulated else "Nothing was measured in this time."
        return format_html("<p>GPU {}: {}</p>", gpu.index, why)
    return format_html('<div class="gaas-charts">{}</div>', format_html_join("", "{}", drawn))


def charts_of(gpus: Sequence[GPU], *, now: datetime, hours: int = 1) -> SafeString:
    """Draw the last hours of each GPU: one query."""
    since = now - timedelta(hours=hours)
    samples = read_samples(gpus=[gpu.pk for gpu in gpus], since=since, until=now, most=POINTS)
    drawn = ((gpu_charts(gpu, samples.get(gpu.pk, []), since=since, until=now),) for gpu in gpus)
    return format_html_join("", "{}", drawn)
