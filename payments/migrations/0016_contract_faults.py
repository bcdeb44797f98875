from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0015_carried_periods"),
    ]

    operations = [
        migrations.AddField(
            model_name="contract",
            name="faults",
            field=models.PositiveSmallIntegerField(default=0, editable=False, help_text="Ticks in a row that raised."),
        ),
    ]
