from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from gaas import groups

# Those whose pages the groups open.
LABELS = ("accounts", "audit", "auth", "axes", "gpus", "ledger", "outbox", "payments", "tasks")


def give(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Make the groups with the permissions on the models that there are by now; later ones come with `post_migrate`.

    Permissions are made after all migrations by a signal, so on a new database there are none yet: they are made here.
    """
    for label in LABELS:
        app = apps.get_app_config(label)
        # An app without it has no models, as create_permissions sees it; those of a migration's state lack it.
        app.models_module = True
        create_permissions(app, verbosity=0, using=schema_editor.connection.alias, apps=apps)
        groups.give(sender=app, using=schema_editor.connection.alias, apps=apps)


class Migration(migrations.Migration):
    dependencies = [
        ("gaas", "0001_initial"),
        ("accounts", "0009_plain_addresses"),
        ("audit", "0003_triggers"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("axes", "0010_accessattemptexpiration"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("gpus", "0004_host_overclaims"),
        ("ledger", "0006_check_runs"),
        ("outbox", "0002_idempotency_key"),
        ("payments", "0009_statements"),
        ("tasks", "0013_old_logs_are_due"),
    ]

    # Back again they stay, and whoever is in them stays in them.
    operations = [migrations.RunPython(give, migrations.RunPython.noop)]
