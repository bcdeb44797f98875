from django.db import migrations

ASSETS = [("GPU", "hours", 3_600_000), ("USD", "currency", 1_000_000)]


def make_assets(apps, schema_editor):
    Asset = apps.get_model("ledger", "Asset")
    for code, kind, scale in ASSETS:
        Asset.objects.using(schema_editor.connection.alias).get_or_create(
            code=code, defaults={"kind": kind, "scale": scale}
        )


class Migration(migrations.Migration):
    dependencies = [("ledger", "0001_tables")]

    # Nothing to undo: balances may point at the assets, and the step before drops the tables whole.
    operations = [migrations.RunPython(make_assets, migrations.RunPython.noop)]
