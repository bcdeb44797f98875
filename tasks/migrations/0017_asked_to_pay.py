from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tasks", "0016_wider_events"),
    ]

    operations = [
        migrations.AddField(
            model_name="task",
            name="asked_to_pay",
            field=models.JSONField(blank=True, editable=False, null=True),
        ),
    ]
