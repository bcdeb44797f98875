"""Letters to a person whose ways in changed: who did not do it learns of it."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings

from accounts.models import User
from gaas.lib import context
from gaas.lib.ids import uuid7
from gaas.outbox import services as outbox


def tell(*, user: User, what: str, where: str, now: datetime) -> None:
    """Post what happened, from which address, and the path of the page that shows it; in the caller's transaction."""
    outbox.post(
        to=user.email,
        subject=f"GaaS: {what[0].lower()}{what[1:]}",
        template="mail/security_notice.txt",
        context={
            "user": user,
            "what": what,
            "at": now,
            "address": context.address.get(),
            "base_url": settings.BASE_URL,
            "where": where,
        },
        key=f"notice:{uuid7()}",
    )
