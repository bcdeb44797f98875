from django.db import migrations
from django.db.models import F


def want_what_stands(apps, schema_editor):
    apps.get_model("ledger", "Cap").objects.using(schema_editor.connection.alias).update(wanted=F("limit"))


class Migration(migrations.Migration):
    dependencies = [("ledger", "0004_spender_and_period")]

    operations = [migrations.RunPython(want_what_stands, migrations.RunPython.noop)]
