from django.db import migrations

from accounts.ledger import procedures


def install(apps, schema_editor):
    procedures.install(schema_editor.connection)


def remove(apps, schema_editor):
    procedures.remove(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("ledger", "0006_check_runs")]

    operations = [migrations.RunPython(install, remove)]
