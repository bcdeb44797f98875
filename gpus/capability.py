"""CUDA compute capabilities as numbers that compare."""

from __future__ import annotations

import re

_CAPABILITY = re.compile(r"([0-9]{1,2})\.([0-9])", re.ASCII)


def capability_number(text: str) -> int:
    """Turn "9.0" into 90 and "12.1" into 121; 0 where it is unknown."""
    match = _CAPABILITY.fullmatch(text)
    return int(match[1]) * 10 + int(match[2]) if match else 0
