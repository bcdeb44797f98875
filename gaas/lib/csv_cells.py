"""CSV that a spreadsheet opens without running anything."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from decimal import Decimal

_BEGINS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def cell(value: object) -> str:
    """Write one value; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    text = "" if value is None else str(value)
    is_number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
    # Blanks before the sign are dropped by some spreadsheets.
    return f"'{text}" if not is_number and text.lstrip(" ").startswith(_BEGINS_A_FORMULA) else text


def lines(rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """Give each row as a line that ends with CR LF, as RFC 4180 has it, one at a time."""
    writer = csv.writer(_Through())
    for row in rows:
        yield writer.writerow([cell(value) for value in row])


class _Through:
    """Hand what is written back to the caller instead of keeping it."""

    def write(self, text: str) -> str:
        return text
