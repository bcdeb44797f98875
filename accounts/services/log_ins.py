"""Where a person is logged in, over the API and in browsers, and the end of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from allauth.usersessions.models import UserSession
from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.models import TokenFamily, User
from gaas.audit.services import record
from gaas.lib.errors import NotFound


@dataclass(frozen=True)
class LogIn:
    """Describe one log-in for the person whose it is; `key` names it for `end`."""

    key: str
    where: str
    began_at: datetime
    seen_at: datetime
    address: str = ""
    is_this: bool = False


def log_ins_of(user: User, *, now: datetime, session_key: str | None = None) -> list[LogIn]:
    """List the live log-ins, this browser's first, then the last seen."""
    found = [
        LogIn(
            key=f"session:{session.pk}",
            where=session.user_agent or "A browser",
            began_at=session.created_at,
            seen_at=session.last_seen_at,
            address=session.ip,
            is_this=session.session_key == session_key,
        )
        for session in UserSession.objects.purge_and_list(user)
    ]
    found += [
        LogIn(
            key=f"tokens:{family.pk}",
            where="A program, by tokens of the API",
            began_at=family.created_at,
            seen_at=family.rotated_at,
        )
        for family in user.token_families.live().filter(expires_at__gt=now)
    ]
    return sorted(found, key=lambda log_in: (log_in.is_this, log_in.seen_at), reverse=True)


def end(*, user: User, key: str, now: datetime) -> None:
    """End one log-in of a user. Raises NotFound for one that is not theirs or has ended."""
    kind, _, pk = key.partition(":")
    with transaction.atomic():
        ended: Any = None
        try:
            if kind == "session":
                ended = UserSession.objects.filter(user=user, pk=int(pk)).first()
            elif kind == "tokens":
                ended = user.token_families.live().filter(pk=pk).first()
        except (ValueError, ValidationError):
            pass
        if ended is None:
            raise NotFound("This log-in has ended already.")
        if isinstance(ended, TokenFamily):
            ended.end(by=user, now=now)
            return
        record(action="session.end", obj=ended, by=user, now=now)
        ended.end()
