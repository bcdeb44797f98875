"""Exact numbers at the border: hours and dollars come and go as decimal strings, inside they are integers.

Hours are GPU-milliseconds (1 h = 3 600 000), money is micro-dollars. No float exists anywhere between.
"""

from __future__ import annotations

import re

MS_PER_HOUR = 3_600_000
MICRO = 1_000_000
MAX_INTEGER = 2**63 - 1

_PLAIN = re.compile(r"(0|[1-9][0-9]{0,17})(?:\.([0-9]{1,6}))?", re.ASCII)


class NotExact(ValueError):
    """State that a value is no plain decimal of at most six places."""


def parse_micro(value: object) -> int:
    """Read "2", 2 or "2.500000" as millionths; refuse floats, signs, exponents, underscores, blanks.

    Raises NotExact with a sentence for the caller.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise NotExact('Give a decimal string such as "2.500000" or a JSON integer.')
    if isinstance(value, int):
        if not 0 <= value <= 10**15:
            raise NotExact("Give a number from 0 to 10¹⁵.")
        return value * MICRO
    match = _PLAIN.fullmatch(value)
    if match is None:
        raise NotExact('Give a plain decimal with at most six places, such as "2.500000".')
    whole, fraction = match.groups()
    micro = int(whole) * MICRO + int((fraction or "").ljust(6, "0"))
    if micro > 10**15 * MICRO:
        raise NotExact("Give a number from 0 to 10¹⁵.")
    return micro


def hours_to_ms(micro_hours: int) -> int:
    """Turn millionths of an hour into milliseconds, rounded down (1 µh = 3.6 ms)."""
    return micro_hours * MS_PER_HOUR // MICRO


def show_micro(micro: int) -> str:
    """Write millionths as a decimal string of six places."""
    sign = "-" if micro < 0 else ""
    whole, fraction = divmod(abs(micro), MICRO)
    return f"{sign}{whole}.{fraction:06d}"


def show_hours(gpu_ms: int) -> str:
    """Write GPU-milliseconds as hours with six places, rounded down (towards zero)."""
    micro = abs(gpu_ms) * MICRO // MS_PER_HOUR
    return show_micro(-micro if gpu_ms < 0 else micro)


def show_bytes(size: int) -> str:
    """Write a size for people, in units of 1024: "1.5 GiB"."""
    amount, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(amount) < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" or amount == int(amount) else f"{amount:.1f} {unit}"
