"""Curves as inline SVG, made on the server: no script, no style of their own, and a table that says the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT = 360, 130
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 10, 22
LINES = 4  # across, each with its value
ROWS = 40  # of the table; more help nobody, and the API has all

Point = tuple[float, float]


@dataclass(frozen=True)
class Chart:
    """One curve. `points` are (x, y) in the order of x; a step wider than `gap` breaks the line."""

    title: str
    unit: str
    points: Sequence[Point]
    begin: float
    end: float
    top: float | None = None  # the highest value that can be, where one is known
    gap: float | None = None

    def svg(self, x_words: Callable[[float], str], *, key: str) -> SafeString:
        """Draw it. `key` is unique on the page; `x_words` writes a moment of the axis."""
        low, high = self._range()
        across = format_html_join(
            "",
            '<line x1="{}" y1="{}" x2="{}" y2="{}"></line><text x="{}" y="{}" text-anchor="end">{}</text>',
            (self._line_across(low + (high - low) * part / LINES, low, high) for part in range(LINES + 1)),
        )
        # A point alone would be no line.
        dots = "".join(self._path(run, low, high) for run in self._runs() if len(run) > 1)
        alone = format_html_join(
            "",
            '<circle cx="{}" cy="{}" r="2"></circle>',
            (self._at(run[0], low, high) for run in self._runs() if len(run) == 1),
        )
        return format_html(
            '<figure class="gaas-chart"><figcaption>{title}</figcaption>'
            '<svg viewBox="0 0 {w} {h}" role="img" aria-labelledby="{key}-t {key}-d">'
            '<title id="{key}-t">{title}</title><desc id="{key}-d">{desc}</desc>'
            '<g class="grid">{across}</g><path class="curve" d="{path}"></path>{alone}'
            '<text x="{left}" y="{foot}">{begin}</text>'
            '<text x="{right}" y="{foot}" text-anchor="end">{end}</text></svg>'
            "{table}</figure>",
            title=self.title,
            desc=self.in_words(),
            w=WIDTH,
            h=HEIGHT,
            key=key,
            across=across,
            path=dots,
            alone=alone,
            left=LEFT,
            right=WIDTH - RIGHT,
            foot=HEIGHT - 4,
            begin=x_words(self.begin),
            end=x_words(self.end),
            table=self._table(x_words),
        )

    def in_words(self) -> str:
        """Say the least, the most and the last value."""
        if not self.points:
            return "Nothing was measured."
        values = [y for _, y in self.points]
        told = (f"{short(value)}{self.unit}" for value in (min(values), max(values), values[-1]))
        return "From {} to {}; the last value is {}.".format(*told)

    def _range(self) -> tuple[float, float]:
        values = [y for _, y in self.points] or [0.0]
        if self.top is not None:
            return 0.0, max(self.top, *values)
        low, high = min(0.0, *values), max(0.0, *values)
        return low, high if high > low else low + 1

    def _at(self, point: Point, low: float, high: float) -> tuple[str, str]:
        x = LEFT + (point[0] - self.begin) / ((self.end - self.begin) or 1) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (point[1] - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
        return f"{x:.1f}", f"{y:.1f}"

    def _line_across(self, value: float, low: float, high: float) -> tuple[object, ...]:
        y = self._at((self.begin, value), low, high)[1]
        return LEFT, y, WIDTH - RIGHT, y, LEFT - 6, float(y) + 4, short(value)

    def _path(self, run: Sequence[Point], low: float, high: float) -> str:
        places = (self._at(point, low, high) for point in run)
        return "M" + "L".join(f"{x},{y}" for x, y in places)

    def _runs(self) -> list[list[Point]]:
        runs: list[list[Point]] = [[self.points[0]]] if self.points else []
        for before, point in pairwise(self.points):
            if self.gap is not None and point[0] - before[0] > self.gap:
                runs.append([])
            runs[-1].append(point)
        return runs

    def _table(self, x_words: Callable[[float], str]) -> SafeString:
        step = max(1, -(-len(self.points) // ROWS))
        rows = format_html_join(
            "",
            "<tr><td>{}</td><td>{}</td></tr>",
            ((x_words(x), f"{short(y)}{self.unit}") for x, y in list(self.points)[::step]),
        )
        if not rows:
            return SafeString("")
        return format_html(
            '<details><summary aria-label="{} as a table">As a table</summary>'
            "<table><thead><tr><th scope=col>When</th><th scope=col>Value</th>"
            "</tr></thead><tbody>{}</tbody></table></details>",
            self.title,
            rows,
        )


def short(value: float) -> str:
    """Write a number with no more digits than say something."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}".replace(",", " ")


def clock_words(begin: datetime, end: datetime) -> Callable[[float], str]:
    """Give what writes a moment, in seconds since the epoch, with its day where the time is long."""
    form = "%H:%M:%S" if end - begin < timedelta(hours=2) else "%d %b %H:%M"

    def words(moment: float) -> str:
        return datetime.fromtimestamp(moment, begin.tzinfo).strftime(form)

    return words
