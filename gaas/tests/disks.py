"""Disks that are really full: a small tmpfs, and the engine's own refusal to write."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

ERRCODE_DISK_FULL = "53100"


@contextlib.contextmanager
def small_disk(at: Path, mib: int) -> Iterator[Path]:
    """Mount a disk of so many MiB; without the right to it the test is skipped, but in CI it fails."""
    at.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "gaas-test", str(at)], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        why = "a small disk cannot be mounted here: that takes root"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@contextlib.contextmanager
def database_full(table: str) -> Iterator[None]:
    """Have the database find no room for more rows of a table.

    SQLite is given no page more than it has; PostgreSQL raises for a row what it raises when the disk is full.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            # Pages that are free within the file would still be used.
            cursor.execute("CREATE TABLE filler (bytes BLOB)")
            cursor.execute("PRAGMA freelist_count")
            (free,) = cursor.fetchone()
            cursor.execute("PRAGMA page_size")
            (size,) = cursor.fetchone()
            cursor.execute("INSERT INTO filler VALUES (zeroblob(%s))", [(free + 1) * size])
            cursor.execute("PRAGMA page_count")
            (count,) = cursor.fetchone()
            cursor.execute(f"PRAGMA max_page_count = {int(count)}")
        else:
            cursor.execute(
                "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                f" RAISE EXCEPTION 'could not extend file' USING ERRCODE = '{ERRCODE_DISK_FULL}'; END $$"
            )
            cursor.execute(f"CREATE TRIGGER no_room BEFORE INSERT ON {table} EXECUTE FUNCTION no_room()")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute("PRAGMA max_page_count = 4294967294")
                cursor.execute("DROP TABLE filler")
            else:
                cursor.execute(f"DROP TRIGGER no_room ON {table}")
                cursor.execute("DROP FUNCTION no_room()")
