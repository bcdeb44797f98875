from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models

from gaas.lib.ids import uuid7
from gaas.lib.rows import Row
from gaas.lib.sealed import SealedField
from gaas.outbox.choices import DeliveryStatus
from gaas.outbox.querysets import (
    IdempotencyKeyQuerySet,
    MailQuerySet,
    WebhookDeliveryQuerySet,
    WebhookQuerySet,
)


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


class Webhook(Row):
    """Be an address that an account wants told of what happens to it.

    `secret` signs what is sent; for an overlap after its rotation `old_secret` signs besides. One call at a time:
    whoever sends holds it until `busy_until`; after a failure it rests until `rest_until`. `failing_since` is the first
    failure since the last success. Whom people pause has no `disabled_reason`; whom the platform disables has one,
    and whom staff disable has a `disabled_by` besides.
    """

    account = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="webhooks")
    url = models.CharField("URL", max_length=2000)
    events = models.JSONField(default=list, help_text="Types of events that it is told of.")
    includes_children = models.BooleanField(default=False, help_text="It also hears of the accounts below.")
    secret = SealedField(purpose="webhook")
    old_secret = SealedField(purpose="webhook", null=True)
    old_secret_until = models.DateTimeField(null=True, blank=True)
    is_active = models.BooleanField(default=True)
    disabled_at = models.DateTimeField(null=True, blank=True)
    disabled_reason = models.CharField(max_length=500, blank=True)
    disabled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    told_at = models.DateTimeField(null=True, blank=True, help_text="When its managers were told that it is disabled.")
    failing_since = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0, help_text="In a row.")
    served_at = models.DateTimeField(null=True, blank=True)
    busy_until = models.DateTimeField(null=True, blank=True)
    rest_until = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )

    objects = WebhookQuerySet.as_manager()

    class Meta(Row.Meta):
        verbose_name = "webhook"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(disabled_at__isnull=True, disabled_reason="")
                | models.Q(disabled_at__isnull=False, is_active=False) & ~models.Q(disabled_reason=""),
                name="webhook_disabled_says_why",
            ),
            models.CheckConstraint(
                condition=models.Q(disabled_by__isnull=True) | models.Q(disabled_at__isnull=False),
                name="webhook_disabled_by_staff_says_when",
            ),
        ]
        indexes = [
            models.Index(
                fields=["disabled_at"],
                condition=models.Q(disabled_at__isnull=False, told_at__isnull=True),
                name="webhook_disabled_untold",
            ),
        ]

    def __str__(self) -> str:
        return self.url[:100]

    @property
    def is_disabled_by_staff(self) -> bool:
        return self.disabled_by_id is not None

    def secrets_at(self, now: datetime) -> list[str]:
        """Give what signs at a moment, the newest first. Raises Unsealable."""
        secrets: list[str] = [self.secret.open()]
        if self.old_secret is not None and self.old_secret_until is not None and self.old_secret_until > now:
            secrets.append(self.old_secret.open())
        return secrets


class WebhookDelivery(Row):
    """Be one event on its way to one webhook: what is sent, how often it was tried, what was answered last.

    `body` is the text that is signed and sent, the same at each attempt. `attempt` counts calls that were begun; none
    follows `last_attempt`. While one is under way `due_at` is when the next would be, so that a sender that
    died leaves nothing behind.
    """

    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    event_id = models.UUIDField()
    event = models.CharField(max_length=32)
    body = models.TextField()
    status = models.CharField(max_length=9, choices=DeliveryStatus, default=DeliveryStatus.PENDING)
    attempt = models.PositiveSmallIntegerField(default=0)
    last_attempt = models.PositiveSmallIntegerField()
    due_at = models.DateTimeField()
    attempted_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    response_status = models.PositiveSmallIntegerField(null=True, blank=True)
    response_excerpt = models.TextField(blank=True)
    error = models.CharField(max_length=300, blank=True, help_text="Why the last attempt is no success.")
    duration_ms = models.PositiveIntegerField(null=True, blank=True)

    objects = WebhookDeliveryQuerySet.as_manager()

    class Meta(Row.Meta):
        verbose_name = "webhook delivery"
        verbose_name_plural = "webhook deliveries"
        constraints = [
            models.UniqueConstraint(fields=["webhook", "event_id"], name="webhook_delivery_once"),
            models.CheckConstraint(
                condition=models.Q(status="PENDING", finished_at__isnull=True)
                | ~models.Q(status="PENDING") & models.Q(finished_at__isnull=False),
                name="webhook_delivery_finished_has_a_time",
            ),
        ]
        indexes = [
            models.Index(fields=["webhook", "due_at"], condition=models.Q(status="PENDING"), name="webhook_pending"),
            models.Index(fields=["webhook", "-id"], name="webhook_delivery_list"),
            models.Index(
                fields=["finished_at"], condition=models.Q(finished_at__isnull=False), name="webhook_finished"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} → {self.webhook_id}"
