"""How a policy stood at each moment and who set it so: django-simple-history, where every row tells who.

It sees `save` and `delete` of a row, never an UPDATE or DELETE by a queryset. A verb that changes a policy
therefore reads the row under its lock, says `changed_by(row, by)`, and saves or deletes that row.
"""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models
from simple_history.models import HistoricalRecords

from gaas.lib.ids import uuid7

ANY = TypeVar("ANY", bound=models.Model)


def kept_history(*, without: tuple[str, ...] = ()) -> Any:
    """Keep a row of each version of a model, but for the fields `without`; for its class body, as `history`."""
    return HistoricalRecords(
        excluded_fields=["created_at", "updated_at", *without],
        history_id_field=models.UUIDField(default=uuid7, editable=False),
        history_change_reason_field=models.TextField(blank=True, null=True),
    )


def changed_by(row: ANY, by: Any, *, reason: str = "") -> ANY:
    """Say who changes a row that is saved or deleted next; None stands for the platform itself."""
    row._history_user = by  # type: ignore[attr-defined]  # the library's own name
    row._change_reason = reason or None  # type: ignore[attr-defined]
    return row
