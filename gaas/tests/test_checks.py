from __future__ import annotations

import pytest
from django.core.checks import run_checks

from gaas import checks


@pytest.fixture
def database(settings, monkeypatch):
    """Name another database; no connection is made to it."""

    def name(engine, **options):
        monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", f"django.db.backends.{engine}")
        monkeypatch.setitem(settings.DATABASES["default"], "OPTIONS", options)

    return name


def ids(found):
    return [message.id for message in found]


class TestEngine:
    @pytest.mark.parametrize("engine", ["sqlite3", "postgresql"])
    def test_it_takes_sqlite_and_postgresql(self, database, engine):
        database(engine)
        assert checks.check_engine() == []

    @pytest.mark.parametrize("engine", ["mysql", "oracle"])
    def test_it_refuses_others(self, database, engine):
        database(engine)
        [refused] = checks.check_engine()
        assert refused.id == "gaas.E001"
        assert "MySQL" in refused.hint


class TestSqlite:
    def test_it_wants_immediate(self, database):
        database("sqlite3", transaction_mode="IMMEDIATE")
        assert checks.check_sqlite_is_immediate() == []
        database("sqlite3", transaction_mode="DEFERRED")
        assert ids(checks.check_sqlite_is_immediate()) == ["gaas.E002"]
        database("sqlite3")
        assert ids(checks.check_sqlite_is_immediate()) == ["gaas.E002"]
        database("postgresql")
        assert checks.check_sqlite_is_immediate() == []


class TestDebug:
    def test_it_is_for_this_machine_alone(self, settings):
        settings.DEBUG = True
        settings.BASE_URL = "http://127.0.0.1:8000"
        settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", "127.8.0.1", "app.localhost"]
        assert checks.check_debug_is_private() == []

    @pytest.mark.parametrize("host", ["gaas.example", "*", ".example", "10.0.0.4", "0.0.0.0", "[2001:db8::1]"])
    def test_it_is_refused_on_a_public_host(self, settings, host):
        settings.DEBUG = True
        settings.BASE_URL = "http://127.0.0.1:8000"
        settings.ALLOWED_HOSTS = [host]
        assert ids(checks.check_debug_is_private()) == ["gaas.E003"]
        settings.DEBUG = False
        assert checks.check_debug_is_private() == []

    def test_the_base_url_counts_too(self, settings):
        settings.DEBUG = True
        settings.ALLOWED_HOSTS = []
        settings.BASE_URL = "https://gaas.example"
        assert ids(checks.check_debug_is_private()) == ["gaas.E003"]


class TestProcesses:
    def test_memory_beside_postgresql_is_warned_of(self, settings, database):
        database("postgresql")
        settings.BROKER_URL = "memory://"
        settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
        assert ids(checks.check_broker_reaches_workers()) == ["gaas.W001"]
        assert ids(checks.check_throttles_count_together()) == ["gaas.W002"]

    def test_brokers_and_sqlite_are_fine(self, settings, database):
        database("postgresql")
        settings.BROKER_URL = "redis://127.0.0.1:6379/0"
        settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache"}}
        assert checks.check_broker_reaches_workers() == checks.check_throttles_count_together() == []
        database("sqlite3")
        settings.BROKER_URL = "memory://"
        settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
        assert checks.check_broker_reaches_workers() == checks.check_throttles_count_together() == []


def test_the_checks_are_registered(settings):
    settings.DEBUG = True
    settings.ALLOWED_HOSTS = ["gaas.example"]
    assert "gaas.E003" in ids(run_checks())
