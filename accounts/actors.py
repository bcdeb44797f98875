"""Messages of this app: one call each."""

from __future__ import annotations

import dramatiq
from django.contrib.sessions.backends.db import SessionStore

from accounts.services.budgets import alert_budgets
from accounts.services.lockout import forget_old_failures
from accounts.services.low_marks import warn_low
from accounts.services.tokens import forget_outlived_log_ins
from accounts.services.webhooks import tell_of_disabled
from gaas.lib import clock


@dramatiq.actor(queue_name="sweep", max_retries=0)
def forget_log_ins(**_: object) -> None:
    """Delete log-ins that have run out, of tokens and browsers, and counts of wrong ones that lock nobody any more."""
    forget_outlived_log_ins(now=clock.now())
    SessionStore.clear_expired()
    forget_old_failures(now=clock.now())


@dramatiq.actor(queue_name="sweep", max_retries=0)
def watch_budgets(**_: object) -> None:
    """Write to whom it concerns when a budget, or what an account has, runs out."""
    alert_budgets(now=clock.now())
    warn_low(now=clock.now())


@dramatiq.actor(queue_name="sweep", max_retries=0)
def watch_webhooks(**_: object) -> None:
    """Write to whom it concerns when a webhook was switched off."""
    tell_of_disabled(now=clock.now())
