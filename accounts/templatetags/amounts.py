"""Write the ledger's integers for people: no more places than say something."""

from __future__ import annotations

from django import template

from accounts.models.limits import Limit
from gaas.lib.amounts import show_bytes, show_hours, show_micro

register = template.Library()


@register.filter
def hours(gpu_ms: int) -> str:
    """Write GPU-milliseconds: 9 000 000 → "2.5 GPU-hours"."""
    return f"{_short(show_hours(gpu_ms), 0)} GPU-hours"


@register.filter
def bare_hours(gpu_ms: int) -> str:
    """Write GPU-milliseconds under a heading that says the unit: 9 000 000 → "2.5"."""
    return _short(show_hours(gpu_ms), 0)


@register.filter
def usd(microusd: int) -> str:
    """Write micro-dollars: 1 250 000 → "1.25 USD"."""
    return f"{_short(show_micro(microusd), 2)} USD"


@register.filter
def of_asset(amount: int, asset: str) -> str:
    """Write an amount of the ledger's asset of this code."""
    return hours(amount) if asset == "GPU" else usd(amount)


@register.filter
def bare_of_asset(amount: int, asset: str) -> str:
    """Do so where the unit is said beside it."""
    return _short(show_hours(amount), 0) if asset == "GPU" else _short(show_micro(amount), 2)


@register.filter
def size(count: int) -> str:
    """Write bytes: 1 610 612 736 → "1.5 GiB"."""
    return show_bytes(count)


@register.filter
def in_unit_of(amount: int, limit: Limit) -> str:
    """Write an amount of the asset that a cap or a threshold is about."""
    return hours(amount) if limit.asset == "GPU" else usd(amount)


def _short(decimal: str, least: int) -> str:
    whole, _, places = decimal.partition(".")
    places = places.rstrip("0").ljust(least, "0")
    return f"{whole}.{places}" if places else whole
