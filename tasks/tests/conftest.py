"""Books that must be sound whatever a test did to tasks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from accounts.ledger import check


@pytest.fixture
def sound_books(db: None) -> Iterator[None]:
    """Fail the test when it leaves books that do not add up."""
    yield
    assert [f"{result.number}: {problem}" for result in check.run() for problem in result.problems] == []


@pytest.fixture
def postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time: threads would prove nothing")
