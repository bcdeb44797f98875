from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0009_statements"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="charge",
            name="charge_once_per_attempt_and_gpu",
        ),
        migrations.AddField(
            model_name="charge",
            name="part",
            field=models.PositiveIntegerField(
                default=0, help_text="Of an attempt that is charged hour by hour; else 0."
            ),
        ),
        migrations.AddConstraint(
            model_name="charge",
            constraint=models.UniqueConstraint(fields=("attempt_id", "gpu_id", "part"), name="charge_once_per_part"),
        ),
    ]
