from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("gpus", "0004_host_overclaims"),
        ("tasks", "0013_old_logs_are_due"),
    ]

    operations = [
        migrations.AddField(
            model_name="attempt",
            name="charged_ms",
            field=models.BigIntegerField(default=0, help_text="What of it was charged while it ran."),
        ),
        migrations.AddField(
            model_name="attempt",
            name="charged_parts",
            field=models.PositiveIntegerField(default=0, help_text="In how many parts that was."),
        ),
        migrations.AddField(
            model_name="attempt",
            name="runs_out_at",
            field=models.DateTimeField(
                blank=True, help_text="Until when what is held for it lasts, at the latest reckoning.", null=True
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="hold_warned_at",
            field=models.DateTimeField(
                blank=True, editable=False, help_text="When its submitter was told that its hold runs out.", null=True
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="is_open_ended",
            field=models.BooleanField(
                default=False, editable=False, help_text="Goes on until somebody ends it, paid ahead hour by hour."
            ),
        ),
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(
                condition=models.Q(("status", "RUNNING")), fields=["runs_out_at"], name="attempt_running_out"
            ),
        ),
    ]
