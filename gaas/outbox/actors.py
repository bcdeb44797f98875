from __future__ import annotations

from typing import Any

import dramatiq

from gaas.lib import clock
from gaas.outbox import services
from gaas.outbox.services import webhooks


# The row knows when to try again, so the broker need not.
@dramatiq.actor(queue_name="mail", max_retries=0)
def send_mail(*, mail_id: str, **_: Any) -> None:
    """Deliver one letter."""
    services.deliver(mail_id=mail_id, now=clock.now())


@dramatiq.actor(queue_name="mail", max_retries=0, max_age=30_000)
def send_due(**_: Any) -> None:
    """Take up letters whose message was lost or whose next try is due."""
    services.resend_due(now=clock.now())


@dramatiq.actor(queue_name="sweep", max_retries=0)
def forget_keys(**_: Any) -> None:
    """Delete idempotency keys past their week."""
    services.forget_expired_keys(now=clock.now())


# Their own deliveries know when to be tried again; one message stands for all that is due.
@dramatiq.actor(queue_name="webhooks", max_retries=0, max_age=30_000)
def send_webhooks(**_: Any) -> None:
    """Call webhooks for what is due."""
    webhooks.send_due()


@dramatiq.actor(queue_name="sweep", max_retries=0, max_age=30_000)
def sweep_webhooks(**_: Any) -> None:
    """Give up deliveries that had their last attempt, and forget old ones."""
    webhooks.sweep_deliveries(now=clock.now())
