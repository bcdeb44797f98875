import threading
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from accounts.ledger import sql
from accounts.ledger.models import BalanceSnapshot, Transfer, TransferSeal
from accounts.ledger.services import NotSettled, take_snapshot, transfer
from accounts.ledger.tests.conftest import problems
from gaas.lib.clock import now


@pytest.fixture
def at_once(monkeypatch):
    """Let a moment be settled at once: no test starts a transaction in that margin."""
    monkeypatch.setattr(sql, "MARGIN", timedelta(0))


def wait_past(moment):
    while sql.settled_before() <= moment:
        threading.Event().wait(0.002)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("at_once", "sound_books")
class TestSnapshot:
    def test_a_platform_balance_is_summed_from_it_on(self, grant, used, hours, funded, django_assert_num_queries):
        wait_past(Transfer.objects.latest("created_at").created_at)
        take_snapshot()
        assert BalanceSnapshot.objects.get(balance=grant).posted == -100
        funded("bob", 11)
        assert (grant.total(), used.total()) == (-111, 0)
        with django_assert_num_queries(3):
            grant.total()

    def test_the_next_one_builds_on_it(self, grant, hours, funded):
        for owner in ("bob", "carol"):
            wait_past(Transfer.objects.latest("created_at").created_at)
            take_snapshot()
            funded(owner, 1)
        assert list(BalanceSnapshot.objects.order_by("before").values_list("posted", flat=True)) == [-100, -101]
        assert list(TransferSeal.objects.order_by("before").values_list("count", flat=True)) == [1, 1]
        assert grant.total() == -102

    def test_one_moment_is_taken_once(self, hours):
        before = sql.settled_before()
        assert take_snapshot(before=before) is not None
        assert take_snapshot(before=before) is None
        assert take_snapshot(before=before - timedelta(days=1)) is None

    def test_a_moment_to_come_is_refused(self, hours):
        with pytest.raises(NotSettled):
            take_snapshot(before=now() + timedelta(seconds=60))
        assert not TransferSeal.objects.exists()

    def test_the_command_takes_one(self, hours, capsys):
        wait_past(Transfer.objects.latest("created_at").created_at)
        call_command("ledger_snapshot")
        assert "Sealed 1 transfers" in capsys.readouterr().out

    def test_case_13_a_long_transaction_holds_the_snapshot_back(self, grant, used, hours, postgresql):
        """A transfer made long before it commits must not fall between snapshot and sum."""
        made, may_commit, started = threading.Event(), threading.Event(), []

        def long():
            try:
                with transaction.atomic():
                    row = transfer(key="long", kind="k", debit=hours, credit=used, amount=7)
                    started.append(row.created_at)
                    made.set()
                    may_commit.wait(20)
            finally:
                made.set()
                connection.close()

        thread = threading.Thread(target=long)
        thread.start()
        try:
            assert made.wait(20)
            later = now()
            with pytest.raises(NotSettled):
                take_snapshot(before=later)
            seal = take_snapshot()
            assert seal.before <= started[0]
        finally:
            may_commit.set()
            thread.join()
        assert used.total() == 7
        wait_past(later)
        take_snapshot(before=later)
        assert BalanceSnapshot.objects.get(balance=used, before=later).posted == 7
        assert used.total() == 7
        assert problems() == []

    def test_the_margin_holds_a_fresh_moment_back(self, hours, monkeypatch, postgresql):
        monkeypatch.setattr(sql, "MARGIN", timedelta(seconds=5))
        with pytest.raises(NotSettled):
            take_snapshot(before=now())
