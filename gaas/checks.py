"""System checks of how the platform is set up: what would lose work, lock up or lay it open is refused."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import Error, Tags, Warning, register

CheckResult = Error | Warning


@register(Tags.database)
def check_engine(databases: Any = None, **_: Any) -> list[CheckResult]:
    engine = settings.DATABASES["default"]["ENGINE"]
    if engine.endswith((".sqlite3", ".postgresql")):
        return []
    return [
        Error(
            f"DATABASE_URL leads to {engine}, which GaaS does not run on.",
            hint="Use SQLite for one process or PostgreSQL for many; MySQL and others lack what the locking needs.",
            id="gaas.E001",
        )
    ]


@register(Tags.database)
def check_sqlite_is_immediate(databases: Any = None, **_: Any) -> list[CheckResult]:
    database = settings.DATABASES["default"]
    if not database["ENGINE"].endswith(".sqlite3"):
        return []
    if database.get("OPTIONS", {}).get("transaction_mode") == "IMMEDIATE":
        return []
    return [
        Error(
            "SQLite does not begin its transactions as IMMEDIATE.",
            hint="Leave transaction_mode out of DATABASE_URL: a deferred transaction that reads and then writes fails "
            "at once when another one writes.",
            id="gaas.E002",
        )
    ]


@register()
def check_debug_is_private(**_: Any) -> list[CheckResult]:
    if not settings.DEBUG:
        return []
    public = public_hosts()
    if not public:
        return []
    return [
        Error(
            f"DEBUG is on for {', '.join(public)}.",
            hint="Set DEBUG=0: its error pages show settings and code to whoever causes an error.",
            id="gaas.E003",
        )
    ]


@register()
def check_broker_reaches_workers(**_: Any) -> list[CheckResult]:
    on_postgres = settings.DATABASES["default"]["ENGINE"].endswith(".postgresql")
    if urlsplit(settings.BROKER_URL).scheme != "memory" or not on_postgres:
        return []
    return [
        Warning(
            "BROKER_URL is memory://, which reaches this one process, while PostgreSQL suggests several.",
            hint="Give redis://… or amqp://… once web and worker are processes of their own; "
            "with memory:// only `up` runs tasks.",
            id="gaas.W001",
        )
    ]


@register()
def check_throttles_count_together(**_: Any) -> list[CheckResult]:
    on_postgres = settings.DATABASES["default"]["ENGINE"].endswith(".postgresql")
    if not settings.CACHES["default"]["BACKEND"].endswith((".LocMemCache", ".DummyCache")) or not on_postgres:
        return []
    return [
        Warning(
            "CACHE_URL is the memory of each process, so each process counts throttles for itself.",
            hint="Give redis://… once there is more than one process.",
            id="gaas.W002",
        )
    ]


def public_hosts() -> list[str]:
    """List the hosts this installation answers to that are not this machine alone."""
    named = [*settings.ALLOWED_HOSTS, urlsplit(settings.BASE_URL).hostname or ""]
    return sorted({host for host in named if host and not _is_loopback(host)})


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
