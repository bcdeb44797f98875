"""The people of the demo."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from accounts.models import Account, User
from accounts.services import balances_of
from gaas import demo

pytestmark = pytest.mark.django_db


@pytest.fixture
def home(settings: Any, tmp_path: Path) -> Path:
    settings.GAAS_HOME = tmp_path
    return tmp_path


class TestSeedDemo:
    def test_it_makes_each_person_with_hours_and_a_log_in(self, home: Path) -> None:
        call_command("seed_demo", verbosity=0)
        for person in demo.PEOPLE:
            user = User.objects.get(email=person.email)
            assert user.check_password(demo.log_ins(home)[person.email])
            assert user.is_superuser is person.is_admin
            assert balances_of(user.personal_account).hours_available == 36_000_000

    def test_a_second_time_changes_nothing(self, home: Path) -> None:
        call_command("seed_demo", verbosity=0)
        before = demo.log_ins(home), list(User.objects.values().order_by("pk")), Account.objects.count()
        call_command("seed_demo", verbosity=0)
        assert before == (demo.log_ins(home), list(User.objects.values().order_by("pk")), Account.objects.count())

    def test_nobody_else_reads_the_log_ins(self, home: Path) -> None:
        demo.log_ins(home)
        assert [stat.S_IMODE(file.stat().st_mode) for file in home.iterdir()] == [0o600]
