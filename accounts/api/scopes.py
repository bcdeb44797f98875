"""Which scope a call by an API key needs: the registry is the views themselves."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS


def needed_scope(view: Any, method: str) -> str | None:
    """Give the scope that a call needs, or None where keys are not taken.

    A view names its part in `key_scope`: "tasks" stands for tasks:read by safe methods and tasks:write by
    others. An action may name another part, or one whole scope ("approvals:write"). Without the name a view
    takes no keys, so that whoever forgets it opens nothing.
    """
    declared: str | None = getattr(view, "key_scope", None)
    if declared is None or ":" in declared:
        return declared
    return f"{declared}:{'read' if method in SAFE_METHODS else 'write'}"
