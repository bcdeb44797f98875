"""What all tests share: the cast, the order in which they run, and a flush that the ledger lets pass."""

import fnmatch
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import pytest_django

# The shared cast: alice, bob, charlie, dana, olga, pat, root, lab, family, child, api.
pytest_plugins = ["gaas.tests.cast", "gaas.tests.s3"]

# How fast this machine is says nothing about the code.
hypothesis.settings.register_profile("house", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("house")

# A file stays on one worker, and one of these begun last would be waited for alone.
BEGUN_FIRST = (
    "tests/test_money_machine.py",
    "tasks/tests/test_races.py",
    "gaas/tests/test_matrix.py",
    "gaas/tests/test_page_matrix.py",
    "tests/test_migrations.py",
    "gaas/tests/test_hostile.py",
    "accounts/ledger/tests/test_machine.py",
    "accounts/ledger/tests/test_crash.py",
    "gpus/tests/agent/",
)
# Forms, pages, log-ins, files and letters with plain SQL of their own: beside the second engine the matrices call each
# endpoint and each page, and what was made for races runs from these files too.
ONE_ENGINE = (
    "*/tests/test_*admin*.py",
    "*/tests/test_*page*.py",
    "accounts/tests/test_addresses.py",
    "accounts/tests/test_app_client.py",
    "accounts/tests/test_authentication.py",
    "accounts/tests/test_browsable.py",
    "accounts/tests/test_cache_away.py",
    "accounts/tests/test_email_verify.py",
    "accounts/tests/test_google.py",
    "accounts/tests/test_lockout.py",
    "accounts/tests/test_log*.py",
    "accounts/tests/test_me.py",
    "accounts/tests/test_password_*.py",
    "accounts/tests/test_register.py",
    "accounts/tests/test_second_factor*.py",
    "accounts/tests/test_token*.py",
    "gaas/tests/test_api_document.py",
    "gaas/tests/test_every_route.py",
    "gaas/tests/test_headers.py",
    "gaas/tests/test_hostile.py",
    "gaas/tests/test_request_log.py",
    "payments/tests/test_nodes.py",
    "payments/tests/test_statement_views.py",
    "tasks/tests/test_artifacts.py",
    "tasks/tests/test_bad_input.py",
    "tasks/tests/test_inputs.py",
    "tasks/tests/test_letters.py",
    "tasks/tests/test_log_archive.py",
    "tasks/tests/test_relays.py",
    "tasks/tests/test_secrets.py",
    "tasks/tests/test_states.py",
    "tasks/tests/test_uploads.py",
    "tasks/tests/test_windows.py",
)
# What gives a test the database, or a process with one.
DATABASES = frozenset({"db", "transactional_db", "live_server", "run", "house"})


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "leave out tests that ran beside another engine: what cannot ask a database, or asks it nothing of interest"
    parser.addoption("--database-only", action="store_true", help=told)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return next((n for n, name in enumerate(BEGUN_FIRST) if item.nodeid.startswith(name)), len(BEGUN_FIRST))

    items.sort(key=place)
    if config.getoption("--database-only"):
        left_out = {item for item in items if not asks_a_database(item) or is_plain(item)}
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def asks_a_database(item: pytest.Item) -> bool:
    """Tell whether a test can: pytest-django refuses every query of one that has neither the marker nor a fixture."""
    fixtures = DATABASES.intersection(getattr(item, "fixturenames", ()))
    return bool(fixtures) or item.get_closest_marker("django_db") is not None


def is_plain(item: pytest.Item) -> bool:
    """Tell whether one engine is enough for a test: the file says so, and it commits nothing for others to see."""
    path = item.nodeid.partition("::")[0]
    if path.endswith("test_page_matrix.py") or not any(fnmatch.fnmatch(path, pattern) for pattern in ONE_ENGINE):
        return False
    marker = item.get_closest_marker("django_db")
    return not (marker and marker.kwargs.get("transaction")) and "transactional_db" not in item.fixturenames


@pytest.fixture(scope="session")
def kept_databases(
    request: pytest.FixtureRequest,
    django_db_modify_db_settings_parallel_suffix: None,
    django_db_blocker: pytest_django.DjangoDbBlocker,
) -> Iterator[list[Any]]:
    """Begin with the migrated databases of the run before, where no migration changed since."""
    from django.db import connections

    from gaas.tests.migrated import Kept

    cache = getattr(request.config, "cache", None)
    kept = [Kept(connection, cache.mkdir("migrated")) for connection in connections.all()] if cache else []
    with django_db_blocker.unblock():
        for database in kept:
            database.reuse()
    yield kept
    for database in kept:
        database.forget()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(kept_databases: list[Any]) -> None:
    """Take what pytest-django asks for just before it makes the databases as the moment to say from what."""


@pytest.fixture(scope="session")
def django_db_setup(
    kept_databases: list[Any],
    emptied_databases: dict[str, Any],
    django_db_setup: None,
    django_db_blocker: pytest_django.DjangoDbBlocker,
) -> None:
    """Keep what migrations made, also where no test asks for a serialized rollback by itself."""
    from django.db import connections

    from gaas.tests.emptied import Emptied

    with django_db_blocker.unblock():
        for database in kept_databases:
            database.keep()
        for connection in connections.all():
            emptied = Emptied(connection)
            if emptied.can():
                emptied.remember()
                emptied_databases[connection.alias] = emptied
            else:
                connection._test_serialized_contents = connection.creation.serialize_db_to_string()


@pytest.fixture(scope="session")
def emptied_databases() -> dict[str, Any]:
    """Hold what is emptied by `gaas.tests.emptied` instead of a flush, by alias."""
    return {}


@pytest.fixture(scope="session", autouse=True)
def _flush_in_spite_of_the_ledger(emptied_databases: dict[str, Any]) -> Iterator[None]:
    """Lift the triggers of ledger and audit around the flush that ends a transactional test; bring back migrated rows.

    Django empties all tables after such a test, which the triggers refuse, and with them the rows that
    migrations made (assets, the platform's account), which later tests count on.
    """
    import json

    from django.db import connections
    from django.test import TransactionTestCase

    from accounts.ledger import triggers
    from gaas.audit import triggers as audit_triggers

    flush = TransactionTestCase._fixture_teardown

    def teardown(case: TransactionTestCase) -> None:
        names = set(case._databases_names(include_mirrors=False))
        for name in names & emptied_databases.keys():
            emptied_databases[name].again()
        names -= emptied_databases.keys()
        if not names:
            return
        for name in names:
            triggers.remove(connections[name])
            audit_triggers.remove(connections[name])
        try:
            flush(case)
            for name in names:
                rows = json.loads(connections[name]._test_serialized_contents)
                if not case.serialized_rollback:
                    # The flush itself had these made again, with other ids.
                    rows = [row for row in rows if not row["model"].startswith(("contenttypes.", "auth."))]
                connections[name].creation.deserialize_db_from_string(json.dumps(rows))
        finally:
            for name in names:
                triggers.install(connections[name])
                audit_triggers.install(connections[name])

    TransactionTestCase._fixture_teardown = teardown
    yield
    TransactionTestCase._fixture_teardown = flush
