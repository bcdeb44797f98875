"""Messages of this app: one call each."""

from __future__ import annotations

import dramatiq

from accounts.services.budgets import alert_budgets
from accounts.services.lockout import forget_old_failures
from accounts.services.tokens import forget_outlived_log_ins
from gaas.lib import clock


@dramatiq.actor(queue_name="sweep", max_retries=0)
def forget_log_ins(**_: object) -> None:
    """Delete log-ins whose last refresh token has run out, and counts of wrong ones that lock nobody any more."""
    forget_outlived_log_ins(now=clock.now())
    forget_old_failures(now=clock.now())


@dramatiq.actor(queue_name="sweep", max_retries=0)
def watch_budgets(**_: object) -> None:
    """Write to whom it concerns when a budget runs out."""
    alert_budgets(now=clock.now())
