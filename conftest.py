"""What all tests share: the cast, and a flush that the ledger lets pass."""

from collections.abc import Iterator

import hypothesis
import pytest
import pytest_django

# The shared cast: alice, bob, charlie, dana, olga, pat, root, lab, family, child, api.
pytest_plugins = ["gaas.tests.cast", "gaas.tests.s3"]

# How fast this machine is says nothing about the code.
hypothesis.settings.register_profile("house", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("house")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: pytest_django.DjangoDbBlocker) -> None:
    """Keep what migrations made, also where no test asks for a serialized rollback by itself."""
    from django.db import connections

    with django_db_blocker.unblock():
        for connection in connections.all():
            connection._test_serialized_contents = connection.creation.serialize_db_to_string()


@pytest.fixture(scope="session", autouse=True)
def _flush_in_spite_of_the_ledger() -> Iterator[None]:
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
        names = case._databases_names(include_mirrors=False)
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
