"""Letters to the people who run a host."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db.models import Q

from accounts.choices import Role
from accounts.models import User
from gaas.outbox import services as outbox
from gaas.outbox.choices import EventType
from gpus.models import Host
from gpus.troubles import Trouble


def tell_owners(*, host: Host, trouble: Trouble, key: str, now: datetime) -> None:
    """Tell whoever may run the host what is wrong and what to do, once for each `key`, in the caller's transaction.

    A host of the platform itself has no owner to write to; staff see the trouble on its page.
    """
    runs_it = Q(memberships__account=host.account_id, memberships__role__in=Role.MANAGER.and_above)
    for user in User.objects.filter(runs_it, is_active=True).distinct():
        outbox.post(
            to=user.email,
            subject=f"Host {host.name}: {trouble.detail}",
            template="mail/host_trouble.txt",
            context={"host": host, "trouble": trouble, "user": user, "base_url": settings.BASE_URL},
            key=f"host:{host.pk}:{key}:{user.pk}",
        )
    outbox.tell(
        event=EventType.HOST_TROUBLE,
        account=host.account,
        data={"host": host.pk, "name": host.name, "status": host.status, **trouble.as_json()},
        key=f"host:{host.pk}:{key}",
        now=now,
    )
