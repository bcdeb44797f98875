"""Agents that claim more time than went by."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F

from gaas.audit.services import record
from gpus.models import Host


def note_overclaim(*, host_id: UUID, about: dict[str, Any], now: datetime) -> None:
    """Count it and keep what was claimed, in the transaction that ends the attempt.

    Locks the host's row, which comes last (docs/locking.md). What is charged is the least of both clocks anyway.
    """
    Host.objects.filter(pk=host_id).update(overclaims=F("overclaims") + 1, overclaimed_at=now)
    record(action="host.overclaim", obj=Host.objects.get(pk=host_id), by=None, after=about, now=now)
