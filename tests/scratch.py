"""A database of a test's own, of the engine under test, and Python processes that work on it.

What changes the schema, or wants SQLite as it is in production (a file, written by many threads), cannot
be done in the database that the other tests share.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.db import connection

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "import os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'gaas.tests.settings'; django.setup()\n"

Run = Callable[[str], str]


@contextmanager
def database(folder: Path) -> Iterator[str]:
    """Give the URL of an empty database, which is gone afterwards."""
    if connection.vendor == "sqlite":
        yield f"sqlite:///{folder / 'scratch.sqlite3'}"
        return
    import psycopg
    from psycopg import sql

    wanted = connection.settings_dict
    server = {key.lower(): wanted[key] for key in ("HOST", "PORT", "USER", "PASSWORD") if wanted[key]}
    name = f"scratch_{uuid4().hex}"
    with psycopg.connect(**server, dbname="postgres", autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        password = f":{quote(wanted['PASSWORD'], safe='')}" if wanted["PASSWORD"] else ""
        port = f":{wanted['PORT']}" if wanted["PORT"] else ""
        yield f"postgres://{quote(wanted['USER'], safe='')}{password}@{wanted['HOST'] or 'localhost'}{port}/{name}"
    finally:
        with psycopg.connect(**server, dbname="postgres", autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def running(folder: Path) -> Iterator[Run]:
    """Run Python against one scratch database, with Django set up; gives what it printed."""
    with database(folder) as url:

        def python(code: str) -> str:
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", BEGIN + code],
                cwd=ROOT,
                env={**os.environ, "DATABASE_URL": url, "GAAS_HOME": str(folder), "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=600,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        yield python


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run Python against a database of this test's own."""
    with running(tmp_path) as python:
        yield python
