import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import gaas.lib.ids
import gaas.lib.sealed


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0009_plain_addresses"),
        ("outbox", "0002_idempotency_key"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Webhook",
            fields=[
                ("id", models.UUIDField(default=gaas.lib.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("url", models.CharField(max_length=2000, verbose_name="URL")),
                ("events", models.JSONField(default=list, help_text="Types of events that it is told of.")),
                (
                    "includes_children",
                    models.BooleanField(default=False, help_text="It also hears of the accounts below."),
                ),
                ("secret", gaas.lib.sealed.SealedField(purpose="webhook")),
                ("old_secret", gaas.lib.sealed.SealedField(null=True, purpose="webhook")),
                ("old_secret_until", models.DateTimeField(blank=True, null=True)),
                ("is_active", models.BooleanField(default=True)),
                ("disabled_at", models.DateTimeField(blank=True, null=True)),
                ("disabled_reason", models.CharField(blank=True, max_length=500)),
                (
                    "told_at",
                    models.DateTimeField(
                        blank=True, help_text="When its managers were told that it is disabled.", null=True
                    ),
                ),
                ("failing_since", models.DateTimeField(blank=True, null=True)),
                ("failures", models.PositiveIntegerField(default=0, help_text="In a row.")),
                ("served_at", models.DateTimeField(blank=True, null=True)),
                ("busy_until", models.DateTimeField(blank=True, null=True)),
                ("rest_until", models.DateTimeField(blank=True, null=True)),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="webhooks", to="accounts.account"
                    ),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "webhook",
                "ordering": ["-id"],
                "abstract": False,
                "indexes": [
                    models.Index(
                        condition=models.Q(("disabled_at__isnull", False), ("told_at__isnull", True)),
                        fields=["disabled_at"],
                        name="webhook_disabled_untold",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("disabled_at__isnull", True), ("disabled_reason", "")),
                            models.Q(
                                ("disabled_at__isnull", False),
                                ("is_active", False),
                                models.Q(("disabled_reason", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="webhook_disabled_says_why",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="WebhookDelivery",
            fields=[
                ("id", models.UUIDField(default=gaas.lib.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("event_id", models.UUIDField()),
                ("event", models.CharField(max_length=32)),
                ("body", models.TextField()),
                (
                    "status",
                    models.CharField(
                        choices=[("PENDING", "To be sent"), ("SUCCEEDED", "Taken"), ("FAILED", "Given up")],
                        default="PENDING",
                        max_length=9,
                    ),
                ),
                ("attempt", models.PositiveSmallIntegerField(default=0)),
                ("last_attempt", models.PositiveSmallIntegerField()),
                ("due_at", models.DateTimeField()),
                ("attempted_at", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                ("response_status", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("response_excerpt", models.TextField(blank=True)),
                (
                    "error",
                    models.CharField(blank=True, help_text="Why the last attempt is no success.", max_length=300),
                ),
                ("duration_ms", models.PositiveIntegerField(blank=True, null=True)),
                (
                    "webhook",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="deliveries", to="outbox.webhook"
                    ),
                ),
            ],
            options={
                "verbose_name": "webhook delivery",
                "verbose_name_plural": "webhook deliveries",
                "ordering": ["-id"],
                "abstract": False,
                "indexes": [
                    models.Index(
                        condition=models.Q(("status", "PENDING")), fields=["webhook", "due_at"], name="webhook_pending"
                    ),
                    models.Index(fields=["webhook", "-id"], name="webhook_delivery_list"),
                    models.Index(
                        condition=models.Q(("finished_at__isnull", False)),
                        fields=["finished_at"],
                        name="webhook_finished",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("webhook", "event_id"), name="webhook_delivery_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("finished_at__isnull", True), ("status", "PENDING")),
                            models.Q(models.Q(("status", "PENDING"), _negated=True), ("finished_at__isnull", False)),
                            _connector="OR",
                        ),
                        name="webhook_delivery_finished_has_a_time",
                    ),
                ],
            },
        ),
    ]
