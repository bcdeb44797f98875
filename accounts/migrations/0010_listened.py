from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0009_plain_addresses"),
    ]

    operations = [
        migrations.AddField(
            model_name="account",
            name="is_listened",
            field=models.BooleanField(
                default=False, editable=False, help_text="A webhook may hear of it; where it is false none does."
            ),
        ),
    ]
