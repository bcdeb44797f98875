"""System checks of this app's settings."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import Error, register

from gaas.lib.amounts import NotExact, parse_micro

CENT = 10_000  # micro-dollars


@register()
def check_payout_amounts(**_: Any) -> list[Error]:
    """Refuse amounts of which no payout by hand or through Stripe could ever be whole cents."""
    wrong = []
    for name in ("PAYOUT_FEE_USD", "PAYOUT_MIN_USD"):
        text = getattr(settings, name)
        try:
            is_whole = parse_micro(text) % CENT == 0
        except NotExact:
            is_whole = False
        if not is_whole:
            wrong.append(
                Error(f"{name} is {text!r}.", hint="Give dollars and cents, such as 0.25.", id="payments.E001")
            )
    return wrong
