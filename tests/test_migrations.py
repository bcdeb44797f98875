"""Every app migrates to zero and back, on either engine, and nothing is left behind or missing."""

from __future__ import annotations

from tests.scratch import Run, run  # noqa: F401  a fixture

FORWARD = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
"""

STATE = """
import json
from django.apps import apps
from django.db import connection
from accounts.ledger import triggers
from accounts.ledger.models import Asset
from accounts.models import Account
from tasks.models import Scheduler
INDEXES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type <> 'table'",
    "postgresql": "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' UNION ALL "
    "SELECT conname FROM pg_constraint WHERE contype IN ('c', 'f', 'u')",
}
def state():
    tables = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)} LIMIT 0")
            tables[table] = sorted(column[0] for column in cursor.description)
        cursor.execute(INDEXES[connection.vendor])
        indexes = sorted(name for name, in cursor.fetchall())
    return {
        "tables": tables,
        "indexes": indexes,
        "assets": sorted(Asset.objects.values_list("code", flat=True)),
        "platform": Account.objects.filter(kind="PLATFORM").count(),
        "scheduler": Scheduler.objects.count(),
        "triggers": list(triggers.missing(connection)),
    }
"""

OWN_APPS = """
import pathlib
from django.conf import settings
own = [app.label for app in apps.get_app_configs() if pathlib.Path(app.path).is_relative_to(settings.BASE_DIR)
       and (pathlib.Path(app.path) / "migrations").is_dir()]
"""


class TestMigrations:
    def test_each_app_goes_to_zero_and_back(self, run: Run) -> None:  # noqa: F811
        told = run(
            FORWARD
            + STATE
            + OWN_APPS
            + """
before = state()
assert (before["assets"], before["scheduler"], before["triggers"]) == (["GPU", "USD"], 1, []), before
assert before["platform"] == 1
for label in own:
    call_command("migrate", label, "zero", verbosity=0)
    with connection.cursor() as cursor:
        left = [t for t in connection.introspection.table_names(cursor) if t.startswith(label + "_")]
    assert not left, (label, left)
    call_command("migrate", verbosity=0)
    after = state()
    assert after == before, (label, {key: after[key] for key in after if after[key] != before[key]})
    print(label)
"""
        )
        assert {"ledger", "accounts", "audit", "outbox", "gpus", "payments", "tasks", "gaas"} <= set(told.split())

    def test_models_and_migrations_agree(self, run: Run) -> None:  # noqa: F811
        run(FORWARD + 'call_command("makemigrations", check=True, dry_run=True, verbosity=0)')

    def test_a_house_in_use_can_go_back_too(self, run: Run) -> None:  # noqa: F811
        run(
            FORWARD
            + """
from accounts.models import User
from gaas.lib import clock
from tasks import services
from tasks.draft import Draft
alice = User.objects.create_user("alice@example.test")
draft = Draft(title="t", kind="script", spec={"command": ["true"]}, funding="quota", gpus=1, limit_ms=1000)
services.submit(draft, by=alice, now=clock.now())
for label in ("tasks", "payments", "gpus", "accounts", "ledger"):
    call_command("migrate", label, "zero", verbosity=0)
call_command("migrate", verbosity=0)
assert not User.objects.exists()
"""
        )
