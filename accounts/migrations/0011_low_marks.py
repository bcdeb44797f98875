import django.db.models.deletion
from django.db import migrations, models

import gaas.lib.ids


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0010_listened"),
    ]

    operations = [
        migrations.CreateModel(
            name="LowMark",
            fields=[
                ("id", models.UUIDField(default=gaas.lib.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("asset", models.CharField(choices=[("GPU", "Hours"), ("USD", "Money")], max_length=3)),
                ("below", models.BigIntegerField(null=True)),
                ("is_low", models.BooleanField(default=False)),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="low_marks", to="accounts.account"
                    ),
                ),
            ],
            options={
                "verbose_name": "low mark",
                "ordering": ["-id"],
                "abstract": False,
                "constraints": [
                    models.UniqueConstraint(fields=("account", "asset"), name="low_mark_once"),
                    models.CheckConstraint(
                        condition=models.Q(("below__isnull", True), ("below__gte", 0), _connector="OR"),
                        name="low_mark_not_negative",
                    ),
                ],
            },
        ),
    ]
