"""All apps migrate to zero and back, on either engine, and nothing is left behind or missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scratch import Run, run, running  # noqa: F401  a fixture

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


GROUPS = """
from django.contrib.auth.models import Group
from gaas.groups import GROUPS
def given():
    rows = Group.permissions.through.objects.values_list(
        "group__name", "permission__content_type__app_label", "permission__codename"
    )
    return {name: {f"{label}.{codename}" for group, label, codename in rows if group == name} for name in GROUPS}
def lacking():
    found = given()
    return {name: sorted(wanted - found[name]) for name, wanted in GROUPS.items() if wanted - found[name]}
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One database for both ways up: to migrate takes as long as a hundred tests."""
    with running(tmp_path_factory.mktemp("house")) as python:
        yield python


class TestMigrations:
    def test_the_groups_come_by_a_migration_alone(self, house: Run) -> None:
        """On a new database, with no signal sent after it, which is what makes permissions otherwise."""
        house(
            GROUPS
            + """
from django.contrib.auth.models import Permission
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
executor = MigrationExecutor(connection)
executor.migrate(executor.loader.graph.leaf_nodes())
assert Group.objects.count() == len(GROUPS), Group.objects.count()
made = {f"{p.content_type.app_label}.{p.codename}" for p in Permission.objects.select_related("content_type")}
# A later migration's models get theirs from the signal.
assert all(set(names).isdisjoint(made) for names in lacking().values()), lacking()
assert "tasks.approve_task" in given()["Approvers"]
# Back before it and on again, whoever is in a group stays there.
from accounts.models import User
ann = User.objects.create_user("ann@example.test")
ann.groups.add(Group.objects.get(name="Finance"))
MigrationExecutor(connection).migrate([("gaas", "0001_initial")])
executor = MigrationExecutor(connection)
executor.migrate(executor.loader.graph.leaf_nodes())
assert [group.name for group in ann.groups.all()] == ["Finance"]
from django.core.management import call_command
call_command("migrate", verbosity=0)
assert lacking() == {}
"""
        )

    def test_a_house_in_use_goes_to_zero_and_back(self, house: Run) -> None:
        """All apps in one plan: each of its steps is taken once each way, which one app after another repeats."""
        told = house(
            FORWARD
            + STATE
            + OWN_APPS
            + GROUPS
            + """
from django.db.migrations.executor import MigrationExecutor
from accounts.ledger import check
from accounts.models import User
from gaas.lib import clock
from tasks import services
from tasks.draft import Draft
before = state()
assert (before["assets"], before["scheduler"], before["triggers"]) == (["GPU", "USD"], 1, []), before
assert before["platform"] == 1
alice = User.objects.create_user("alice@example.test")
draft = Draft(title="t", kind="script", spec={"command": ["true"]}, funding="quota", gpus=1, limit_ms=1000)
services.submit(draft, by=alice, now=clock.now())
MigrationExecutor(connection).migrate([(label, None) for label in own])
with connection.cursor() as cursor:
    tables = connection.introspection.table_names(cursor)
for label in own:
    left = [table for table in tables if table.startswith(label + "_")]
    assert not left, (label, left)
call_command("migrate", verbosity=0)
assert lacking() == {}
after = state()
assert after == before, {key: after[key] for key in after if after[key] != before[key]}
assert not User.objects.exists()
assert [problem for result in check.run() for problem in result.problems] == []
print(*own)
"""
        )
        assert {"ledger", "accounts", "audit", "outbox", "gpus", "payments", "tasks", "gaas"} <= set(told.split())

    def test_models_and_migrations_agree(self, run: Run) -> None:  # noqa: F811
        """On a database without a table: the history is empty, so what is compared is code alone."""
        run(
            "from django.core.management import call_command\n"
            'call_command("makemigrations", check=True, dry_run=True, verbosity=0)'
        )
