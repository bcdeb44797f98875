"""A crash anywhere in a verb leaves the books sound, and asking again does it once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from urllib.parse import quote

import pytest
from django.conf import settings
from django.db import connection


def database_url(tmp_path) -> str:
    """Name a database that another process can open: this test's, or on SQLite a copy of it in a file."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM INTO %s", [str(tmp_path / "copy.sqlite3")])
        return f"sqlite:///{tmp_path / 'copy.sqlite3'}"
    at = connection.settings_dict
    login = ":".join(quote(at[part], safe="") for part in ("USER", "PASSWORD") if at[part])
    return f"postgres://{login}@{at['HOST'] or '127.0.0.1'}:{at['PORT'] or 5432}/{at['NAME']}"


@pytest.mark.django_db(transaction=True)
def test_case_11_a_crash_at_each_statement_of_each_verb_leaves_the_books_sound(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "accounts.ledger.tests.crash_runner"],
        cwd=settings.BASE_DIR,
        # A pool's threads do not survive the forks.
        env=os.environ
        | {"DATABASE_URL": database_url(tmp_path), "DATABASE_POOL": "0"}
        | {"DJANGO_SETTINGS_MODULE": "gaas.tests.settings"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    report = json.loads(ended.stdout.splitlines()[-1])
    assert report["wrong"] == []
    assert all(count >= 2 for count in report["killed"].values()), report["killed"]
    assert report["killed"]["capture, final"] >= (2 if connection.vendor == "postgresql" else 9)
    assert report["killed"]["transfer"] >= 5
