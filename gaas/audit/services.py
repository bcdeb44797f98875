"""Write the audit trail, chain it and follow the chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection, models

from gaas.audit import sql, triggers
from gaas.audit.chain import COVERED, Link, first_break, next_link
from gaas.audit.models import AuditEvent
from gaas.lib import clock, context
from gaas.lib.retry import retried


def record(
    *,
    action: str,
    obj: models.Model,
    by: object | None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
    now: datetime | None = None,
) -> AuditEvent:
    """Store one event in the caller's transaction, so that deed and record stand or fall together.

    `action` is "<noun>.<verb>" ("task.approve"). `by` is a user (shown with the API key, where one was used),
    any other object that acts (a host), or None for the platform itself. The account is the object's own id
    if it is an account, else its `account_id`. Request id and address are those of the request under way, if any.
    """
    key = getattr(by, "through", None)
    user: Any = by if isinstance(by, models.Model) and by._meta.label == settings.AUTH_USER_MODEL else None
    account_id = obj.pk if obj._meta.label_lower == "accounts.account" else getattr(obj, "account_id", None)
    return AuditEvent.objects.create(
        action=action,
        actor=user,
        actor_label="" if by is None else (f"{by} by key gaas_{key.prefix}" if key else str(by))[:254],
        object_type=obj._meta.label_lower,
        object_id=str(obj.pk),
        object_label=str(obj)[:254],
        account_id=str(account_id or ""),
        before=before or {},
        after=after or {},
        reason=reason,
        address=context.address.get(),
        request_id=context.request_id.get(),
        at=now or clock.now(),
    )


@retried
def chain_events(*, limit: int = 1000) -> int:
    """Give up to `limit` events their place in the chain and tell how many; 0 when none waits.

    One caller at a time: each next statement sees what the one before committed. What commits late is simply
    chained later, so nothing is skipped whatever the order of ids.
    """
    sql.chain_alone()
    last = AuditEvent.objects.chained().last()
    link = Link() if last is None or last.seq is None else Link(last.seq, last.digest)
    done = 0
    for event in AuditEvent.objects.unchained()[:limit]:
        link = next_link(vars(event), link)
        event.chain(link)
        done += 1
    return done


@dataclass(frozen=True)
class Checked:
    """Say what is wrong with the audit trail, how far the chain holds, and how many events wait for it."""

    problems: list[str]
    end: Link
    waiting: int


def check(*, noted: Sequence[Link] = ()) -> Checked:
    """Follow the chain from its beginning through the links that were noted elsewhere; reads the whole table."""
    fallen = [f"the trigger {name} does not stand" for name in triggers.missing(connection)]
    rows = AuditEvent.objects.chained().values(*COVERED, "seq", "digest").iterator()
    broken, end = first_break(rows, noted)
    return Checked([broken, *fallen] if broken else fallen, end, AuditEvent.objects.unchained().count())
