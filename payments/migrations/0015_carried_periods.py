from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0014_transactions_sent_before"),
    ]

    operations = [
        migrations.AddField(
            model_name="contractperiod",
            name="carried",
            field=models.PositiveSmallIntegerField(
                default=0, editable=False, help_text="How often it was carried on, since its owner was away."
            ),
        ),
    ]
