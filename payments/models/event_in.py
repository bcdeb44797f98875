from __future__ import annotations

from django.db import models
from django.db.models import Q

from gaas.lib.rows import Row
from payments.choices import Provider


class WebhookEvent(Row):
    """Keep what a provider told us, once for its id, until it has been looked into.

    `about` is the provider's id of the object that changed; what it says about it is kept for readers alone.
    """

    provider = models.CharField(max_length=10, choices=Provider)
    event_id = models.CharField(max_length=200)
    kind = models.CharField(max_length=100)
    about = models.CharField(max_length=200, blank=True)
    payload = models.JSONField()
    due_at = models.DateTimeField(null=True, blank=True, help_text="When to look into it; empty once that is done.")
    tries = models.IntegerField(default=0)
    done_at = models.DateTimeField(null=True, blank=True)
    problem = models.TextField(blank=True)

    class Meta(Row.Meta):
        verbose_name = "webhook event"
        constraints = [models.UniqueConstraint(fields=["provider", "event_id"], name="webhook_event_once")]
        indexes = [
            models.Index(fields=["due_at"], name="webhook_event_due", condition=Q(due_at__isnull=False)),
            models.Index(fields=["about"], name="webhook_event_about"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.event_id}"
