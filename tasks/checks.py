"""System checks of this app's settings."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import Warning, register


@register()
def check_prolong_seconds(**_: Any) -> list[Warning]:
    """Warn where what goes on would be paid further ahead at each look, and never come to rest."""
    if settings.PROLONG_AHEAD_SECONDS < settings.PROLONG_STEP_SECONDS:
        return []
    return [
        Warning(
            f"PROLONG_AHEAD_SECONDS ({settings.PROLONG_AHEAD_SECONDS:g}) is not below "
            f"PROLONG_STEP_SECONDS ({settings.PROLONG_STEP_SECONDS:g}): tasks without an end are due to be paid for "
            "as soon as they were, and are told from their beginning that their hold runs out.",
            hint="Let it be a part of the step, such as a quarter.",
            id="tasks.W001",
        )
    ]
