from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ledger", "0007_procedures")]

    operations = [
        migrations.AddField(model_name="transferseal", name="kinds", field=models.JSONField(null=True)),
    ]
