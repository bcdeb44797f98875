"""A migrated database that is kept from one test run to the next, until a migration changes.

To migrate takes eight seconds of processor time, which each run, each worker and each engine would pay. SQLite's copy
is a file in pytest's cache; PostgreSQL's is a database beside that of the tests, whose comment tells what it was made
from. Django still migrates what it gets, which then only gives the signals that make permissions and groups.

SQLite's test database is a file as in production, not Django's shared one in memory: there a second thread gets
"table is locked" at once, whatever its timeout, where a file lets it wait its turn.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.db import DatabaseError

ROOM = 1024**3
OWN_IMPORTS = re.compile(r"^\s*(?:from|import) ((?:accounts|gaas|gpus|payments|tasks)[.\w]*)(?: import (\w+))?", re.M)


def digest() -> str:
    """Name the state of all migrations, of what they import of ours, and of what the signal after them gives."""
    sum_ = hashlib.sha256(f"{sys.version} {django.VERSION}".encode())
    for path in sorted({*_sources(), Path(settings.BASE_DIR, "gaas", "groups.py")}):
        sum_.update(str(path).encode() + path.read_bytes())
    return sum_.hexdigest()[:32]


def _sources() -> Iterator[Path]:
    for app in apps.get_app_configs():
        for path in Path(app.path, "migrations").glob("*.py"):
            yield path
            for module, name in OWN_IMPORTS.findall(path.read_text()):
                stem = Path(settings.BASE_DIR, *module.split("."))
                yield from (file for file in (stem.with_suffix(".py"), stem / f"{name}.py") if file.is_file())


def _disk() -> str | None:
    """Give a disk in memory where there is one with room; that of a container may be small."""
    memory = "/dev/shm"
    is_there = os.path.isdir(memory) and os.access(memory, os.W_OK)
    return memory if is_there and shutil.disk_usage(memory).free > ROOM else None


class Kept:
    """The copy for one connection: `reuse()` before the test database is made, `keep()` once it is there."""

    def __init__(self, connection: Any, folder: Path) -> None:
        self.connection, self.digest = connection, digest()
        self.file = folder / f"{self.digest}.sqlite3"
        self.database = f"{connection.settings_dict['NAME']}_migrated"
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self.is_reused = False

    def reuse(self) -> None:
        if self.connection.vendor == "sqlite":
            self._put_on_a_disk()
            self.is_reused = self.file.is_file()
        else:
            self.is_reused = self._comment() == self.digest
            if self.is_reused:
                self.connection.settings_dict["TEST"]["TEMPLATE"] = self.database

    def keep(self) -> None:
        """Copy the test database, which nothing has written to yet."""
        if self.is_reused or not self._is_of_tests():
            return
        if self.connection.vendor == "sqlite":
            unfinished = self.file.with_suffix(f".{os.getpid()}")
            with self.connection.cursor() as cursor:
                cursor.execute("VACUUM INTO %s", [str(unfinished)])
            unfinished.replace(self.file)
            # Not this one: another worker may be about to begin with it.
            for older in set(self.file.parent.glob("*.sqlite3")) - {self.file}:
                older.unlink(missing_ok=True)
        else:
            self._copy_database()

    def forget(self) -> None:
        """Remove the folder of SQLite's test database, with what its writers left beside it."""
        if self.folder:
            self.folder.cleanup()

    def _is_of_tests(self) -> bool:
        """Tell the test database from the developer's own, which stands there where no test asked for one."""
        return Path(self.connection.settings_dict["NAME"]).name.startswith("test_")

    def _put_on_a_disk(self) -> None:
        """Give SQLite a file in a folder of this process, in memory where there is such a disk, begun with the copy."""
        self.folder = tempfile.TemporaryDirectory(prefix="gaas-tests-", dir=_disk())
        self.connection.settings_dict["TEST"]["NAME"] = str(Path(self.folder.name, "test_gaas.sqlite3"))
        creation = self.connection.creation
        create = creation._create_test_db

        def filled(*args: Any, **how: Any) -> Any:
            name = create(*args, **how)
            if self.is_reused:
                shutil.copyfile(self.file, name)
            return name

        creation._create_test_db = filled

    def _comment(self) -> str | None:
        with self.connection.creation._nodb_cursor() as cursor:
            cursor.execute(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [self.database]
            )
            row = cursor.fetchone()
        return row[0] if row else None

    def _copy_database(self) -> None:
        quoted = self.connection.ops.quote_name
        source, target = quoted(self.connection.settings_dict["NAME"]), quoted(self.database)
        self.connection.close()
        self.connection.close_pool()
        try:
            with self.connection.creation._nodb_cursor() as cursor:
                cursor.execute(f"DROP DATABASE IF EXISTS {target}")
                cursor.execute(f"CREATE DATABASE {target} TEMPLATE {source}")
                cursor.execute(f"COMMENT ON DATABASE {target} IS '{self.digest}'")
        except DatabaseError:
            pass  # another worker does the same at this moment
