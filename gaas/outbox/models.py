from __future__ import annotations

from django.db import models

from gaas.lib.rows import Row
from gaas.outbox.querysets import MailQuerySet


class Mail(Row):
    """Be one letter that leaves the house after the commit that made it.

    `key` names the occasion ("verify:<user>"), so that one occasion makes one letter. A letter that could not
    be handed over is due again later, each time after a longer wait, until MAX_TRIES (gaas/outbox/services.py).
    """

    to = models.EmailField(max_length=254)
    subject = models.CharField(max_length=200)
    body = models.TextField()
    key = models.CharField(max_length=200, unique=True)
    due_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    tries = models.PositiveSmallIntegerField(default=0)
    last_error = models.CharField(max_length=500, blank=True)

    objects = MailQuerySet.as_manager()

    class Meta(Row.Meta):
        verbose_name = "mail"
        verbose_name_plural = "mails"
        indexes = [
            models.Index(fields=["due_at"], condition=models.Q(sent_at__isnull=True), name="mail_unsent"),
        ]

    def __str__(self) -> str:
        return f"{self.subject} → {self.to}"
