from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0017_payout_platform"),
    ]

    operations = [
        migrations.AddField(
            model_name="contractperiod",
            name="again_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
    ]
