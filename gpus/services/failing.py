"""Hosts that keep failing are given no more work."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.conf import settings

from gpus.choices import HostStatus
from gpus.models import Host
from gpus.services.owners import tell_owners
from gpus.troubles import failing


def note_failure(
    *, host_id: UUID, task_id: UUID, is_loss: bool, offered_at: datetime, sentence: str, now: datetime
) -> None:
    """Count a failure of a host, in the transaction that ends the attempt; drain the host at HOST_FAILURES in a row.

    Locks the host's row, which comes last (docs/locking.md). A host that its owner took out of service already is
    left as it is.
    """
    host = Host.objects.select_for_update().get(pk=host_id)
    in_a_row = host.count_failure(task_id=task_id, is_loss=is_loss, offered_at=offered_at, now=now)
    if in_a_row < settings.HOST_FAILURES or host.status != HostStatus.ACTIVE:
        return
    why = f"It failed {in_a_row} times in a row and gets no more work. The last time: {sentence}"
    host.drain_for(why, now=now)
    tell_owners(host=host, trouble=failing(why), key=f"failing:{now.isoformat()}", now=now)


def note_success(host: Host) -> None:
    """Forgive what went before: an attempt came to an end that was not the host's fault."""
    if host.failures:
        Host.objects.filter(pk=host.pk, failures__gt=0).update(failures=0, failed_task=None)
