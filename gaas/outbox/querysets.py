"""Questions about many letters, keys, webhooks and deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Exists, F, OuterRef, Q

from gaas.outbox.choices import DeliveryStatus

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


class WebhookQuerySet(models.QuerySet):
    def active(self) -> WebhookQuerySet:
        return self.filter(is_active=True)

    def listening(self, account: Any) -> WebhookQuerySet:
        """Keep those that hear of an account: its own, and those above that hear of all below."""
        heard = Q(account_id=account.pk)
        if account.ancestor_ids:
            heard |= Q(account_id__in=account.ancestor_ids, includes_children=True)
        return self.active().filter(heard)

    def free(self, *, now: datetime) -> WebhookQuerySet:
        """Keep those that may be called now: nobody does, and none rests after a failure."""
        idle = Q(busy_until__isnull=True) | Q(busy_until__lte=now)
        return self.active().filter(idle, Q(rest_until__isnull=True) | Q(rest_until__lte=now))

    def with_due(self, *, now: datetime) -> WebhookQuerySet:
        """Keep those with something to send, the one that waited longest for its turn first."""
        due = self.model._meta.get_field("deliveries").related_model.objects.due(now=now)
        return self.filter(Exists(due.filter(webhook=OuterRef("pk")))).order_by(
            F("served_at").asc(nulls_first=True), "pk"
        )


class WebhookDeliveryQuerySet(models.QuerySet):
    def pending(self) -> WebhookDeliveryQuerySet:
        return self.filter(status=DeliveryStatus.PENDING)

    def due(self, *, now: datetime) -> WebhookDeliveryQuerySet:
        """Keep what is to be tried now: neither taken nor given up, and waited long enough."""
        return self.pending().filter(due_at__lte=now, attempt__lt=F("last_attempt"))
