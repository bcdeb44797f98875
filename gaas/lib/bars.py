"""Bars as inline SVG, made on the server: no script, no style of their own; a table beside them says the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT, FOOT = 40, 100, 16


@dataclass(frozen=True)
class Bars:
    """One row of bars: what each is called, how high it is, and how that is written."""

    title: str
    bars: Sequence[tuple[str, int, str]]

    def svg(self) -> SafeString:
        """Draw them from their common zero, those below it downwards."""
        values = [value for _, value, _ in self.bars]
        high, low = max([*values, 0]), min([*values, 0])
        span = (high - low) or 1
        zero = round(HEIGHT * high / span)
        drawn = format_html_join(
            "",
            '<g><title>{}: {}</title><rect x="{}" y="{}" width="28" height="{}" rx="2"></rect>'
            '<text x="{}" y="{}" text-anchor="middle">{}</text></g>',
            (
                (
                    *(label, written, WIDTH * place + 6),
                    # Whole numbers: a float of 2^62 would still do, but nothing here is to be one.
                    zero - HEIGHT * max(value, 0) // span,
                    HEIGHT * abs(value) // span,
                    *(WIDTH * place + 20, HEIGHT + FOOT, label[:3]),
                )
                for place, (label, value, written) in enumerate(self.bars)
            ),
        )
        width = WIDTH * len(self.bars)
        return format_html(
            '<svg class="gaas-bars" viewBox="0 -4 {w} {h}" role="img" aria-label="{title}; the table has the numbers">'
            '<line x1="0" y1="{zero}" x2="{w}" y2="{zero}"></line>{drawn}</svg>',
            w=width,
            h=HEIGHT + FOOT + 8,
            title=self.title,
            zero=zero,
            drawn=drawn,
        )
