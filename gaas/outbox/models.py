from __future__ import annotations

from django.db import models

from gaas.lib.ids import uuid7
from gaas.lib.rows import Row
from gaas.outbox.querysets import IdempotencyKeyQuerySet, MailQuerySet


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


class IdempotencyKey(Row):
    """Be one call that may be sent again: what it was, who is at work on it, what was answered.

    `scope` is who called ("user:<id>"), so that two people may use one key. `holder` changes whenever the key
    is taken over from a call that fell silent; only the present holder may answer.
    """

    class State(models.TextChoices):
        RUNNING = "RUNNING", "Running"
        ANSWERED = "ANSWERED", "Answered"

    scope = models.CharField(max_length=64)
    key = models.CharField(max_length=128)
    method = models.CharField(max_length=8)
    route = models.CharField(max_length=500)
    body_hash = models.CharField(max_length=64)
    state = models.CharField(max_length=8, choices=State, default=State.RUNNING)
    holder = models.UUIDField(default=uuid7)
    locked_until = models.DateTimeField()
    status = models.PositiveSmallIntegerField(null=True, blank=True)
    headers = models.JSONField(default=dict, blank=True)
    body = models.TextField(blank=True)
    is_secret = models.BooleanField(default=False, help_text="The answer showed a secret, which is not kept.")
    expires_at = models.DateTimeField(db_index=True)

    objects = IdempotencyKeyQuerySet.as_manager()

    class Meta(Row.Meta):
        verbose_name = "idempotency key"
        constraints = [
            models.UniqueConstraint(fields=["scope", "key"], name="idempotency_key_once"),
            models.CheckConstraint(
                condition=models.Q(state="RUNNING", status__isnull=True)
                | models.Q(state="ANSWERED", status__isnull=False),
                name="idempotency_key_answered_has_a_status",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.route}"

    @property
    def is_answered(self) -> bool:
        return self.state == self.State.ANSWERED
