"""Questions about many letters and keys."""

from __future__ import annotations

from datetime import datetime

from django.db import models

MAX_TRIES = 8


class MailQuerySet(models.QuerySet):
    def unsent(self) -> MailQuerySet:
        return self.filter(sent_at__isnull=True)

    def due(self, *, now: datetime) -> MailQuerySet:
        """Keep what is to be tried now: not sent, waited long enough, not given up."""
        return self.unsent().filter(due_at__lte=now, tries__lt=MAX_TRIES)

    def given_up(self) -> MailQuerySet:
        return self.unsent().filter(tries__gte=MAX_TRIES)


class IdempotencyKeyQuerySet(models.QuerySet):
    def expired(self, *, now: datetime) -> IdempotencyKeyQuerySet:
        return self.filter(expires_at__lte=now)
