"""Schedulers that are killed at random lines of code: every period is there exactly once, and the books are sound."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from urllib.parse import quote

import pytest
from django.db import connection

from payments.models import Contract
from payments.schedule import Schedule
from payments.tests.deals import a_branch, agreed, an_owner, day, rich

SCHEDULERS = 4
STARTS = "2027-01-31"


def database_url(tmp_path) -> str:
    """Name a database that other processes can open: this test's, or on SQLite a copy of it in a file."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM INTO %s", [str(tmp_path / "copy.sqlite3")])
        return f"sqlite:///{tmp_path / 'copy.sqlite3'}"
    at = connection.settings_dict
    login = ":".join(quote(at[part], safe="") for part in ("USER", "PASSWORD") if at[part])
    return f"postgres://{login}@{at['HOST'] or '127.0.0.1'}:{at['PORT'] or 5432}/{at['NAME']}"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("contracts", "months", "deaths"),
    [
        pytest.param(4, 6, 5, id="smoke"),
        pytest.param(40, 24, 60, id="whole", marks=[pytest.mark.systems, pytest.mark.long]),
    ],
)
def test_case_56_four_schedulers_killed_at_any_line(
    contracts, months, deaths, lab, alice, bob, olga, tmp_path, settings
):
    settings.PLATFORM_FEE_PERCENT = "10"
    rich(lab, usd=1_000_000, hours=1_000_000)
    begin, owner = day(STARTS), an_owner(olga)
    for number in range(contracts):
        kind, (payee, yes) = ("reservation", (owner, olga)) if number % 2 else ("allowance", (a_branch(lab, bob), bob))
        policy = {
            "roll_over": ("keep", "expire")[number // 2 % 2],
            "time_zone": ("UTC", "Africa/Cairo")[number // 4 % 2],
        }
        made = agreed(kind, lab, payee, starts=STARTS, at=begin, by=alice, yes=yes, **policy)
        Contract.objects.filter(pk=made.pk).update(title=f"{number:03}")
    late = Schedule(begin.date(), "month", "UTC").due(months - 1) + timedelta(days=2)
    url = database_url(tmp_path)
    env = os.environ | {"DATABASE_URL": url, "DATABASE_POOL": "0", "DJANGO_SETTINGS_MODULE": "gaas.tests.settings"}
    command = [sys.executable, "-m", "payments.tests.tick_runner", str(SCHEDULERS), str(deaths), late.isoformat()]
    done = subprocess.run(command, cwd=settings.BASE_DIR, env=env, capture_output=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    died = Counter(found["died"])
    assert found["wrong"] == []
    assert found["next"] == [months] * contracts
    assert found["periods"] == [[f"{number:03}", no] for number in range(contracts) for no in range(months)]
    assert found["paid"] == contracts * months
    assert died.total() >= SCHEDULERS, "Nobody was killed while there was something to do."
    print(f"\n{contracts * months} periods, {died.total()} deaths in {len(died)} files: {dict(died.most_common(8))}")
