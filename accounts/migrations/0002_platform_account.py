from django.db import migrations

from gaas.lib.ids import uuid7


def make_platform_account(apps, schema_editor):
    accounts = apps.get_model("accounts", "Account").objects.using(schema_editor.connection.alias)
    if not accounts.filter(kind="PLATFORM").exists():
        key = uuid7()
        accounts.create(id=key, name="Platform", kind="PLATFORM", path=f"/{key}/")


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    # Back: the table goes with the migration before; hosts may point to the row until then.
    operations = [migrations.RunPython(make_platform_account, migrations.RunPython.noop)]
