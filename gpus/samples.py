"""Which measurements of GPUs are believed. A bad one is dropped and named, never fatal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

# Name → the most that it can be.
BOUNDS = {
    "utilisation": 100.0,
    "memory_mib": 100_000_000.0,
    "power_w": 100_000.0,
    "temperature_c": 200.0,
    "foreign_processes": 1_000_000.0,
}

MAX_WARNINGS = 20


def believable(samples: Iterable[Any], uuids: Collection[str]) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Sort samples into {uuid: {name: value}} and sentences about what was dropped.

    Unknown names are passed over in silence: a newer agent may measure more.
    """
    kept: dict[str, dict[str, float]] = {}
    warnings: list[str] = []
    for position, sample in enumerate(samples):
        uuid = sample.get("gpu") if isinstance(sample, dict) else None
        if not isinstance(uuid, str) or uuid not in uuids:
            warnings.append(f"metrics[{position}] names no GPU of this report; dropped.")
            continue
        values = {}
        for name, most in BOUNDS.items():
            value = sample.get(name)
            if value is None:
                continue
            if _is_number(value) and 0 <= value <= most:
                values[name] = value
            else:
                warnings.append(f"metrics[{position}].{name} is no number from 0 to {most:.0f}; dropped.")
        if values:
            kept[uuid] = values
    if len(warnings) > MAX_WARNINGS:
        warnings[MAX_WARNINGS - 1 :] = [f"{len(warnings) - MAX_WARNINGS + 1} more metrics were dropped."]
    return kept, warnings


def _is_number(value: Any) -> bool:
    # NaN and the infinities fail the bounds, since no comparison with NaN holds.
    return isinstance(value, int | float) and not isinstance(value, bool)


# What is kept over time; of the memory the most in a step, since that is what a program needs.
MEASURED = ("utilisation", "memory_mib", "power_w", "temperature_c")


def merged(rows: Sequence[Any]) -> dict[str, float | int | None]:
    """Make one of several samples: means by weight, the highest memory; what none of them measured stays None."""
    one: dict[str, float | int | None] = {"weight": sum(row.weight for row in rows)}
    for name in MEASURED:
        told = [(getattr(row, name), row.weight) for row in rows if getattr(row, name) is not None]
        if not told:
            one[name] = None
        elif name == "memory_mib":
            one[name] = max(value for value, _ in told)
        else:
            one[name] = sum(value * weight for value, weight in told) / sum(weight for _, weight in told)
    return one
