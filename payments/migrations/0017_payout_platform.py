from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0016_contract_faults"),
    ]

    operations = [
        migrations.AddField(
            model_name="payout",
            name="platform",
            field=models.CharField(blank=True, default="", editable=False, max_length=100),
            preserve_default=False,
        ),
    ]
