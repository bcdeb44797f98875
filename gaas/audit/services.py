"""Write the audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models

from gaas.audit.models import AuditEvent
from gaas.lib import clock, context


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
