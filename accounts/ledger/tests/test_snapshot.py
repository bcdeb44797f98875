import json
import threading
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from accounts.ledger import sql
from accounts.ledger.models import BalanceSnapshot, Transfer, TransferSeal
from accounts.ledger.services import NotSettled, take_snapshot, transfer
from accounts.ledger.services.snapshots import booked
from accounts.ledger.tests.conftest import problems
from gaas.lib.clock import now


@pytest.fixture
def at_once(monkeypatch):
    """Let a moment be settled at once: no test starts a transaction in that margin."""
    monkeypatch.setattr(sql, "MARGIN", timedelta(0))


def wait_past(moment):
    while sql.settled_before() <= moment:
        threading.Event().wait(0.002)


def _write_seals(**fields):
    with connection.cursor() as cursor:
        value = None if fields["kinds"] is None else json.dumps(fields["kinds"])
        cursor.execute("UPDATE ledger_transferseal SET kinds = %s", [value])


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

    def test_what_is_under_a_seal_is_counted_once(self, used, hours, funded, django_assert_num_queries):
        def use(key, kind="usage"):
            transfer(key=key, kind=kind, debit=hours, credit=used, amount=1)

        for number in range(3):
            use(f"task:{number}")
        use("free words")
        use("other:1")
        wait_past(Transfer.objects.latest("created_at").created_at)
        seal = take_snapshot()
        assert seal.kinds["usage task"] == 3
        assert seal.kinds["usage"] == seal.kinds["usage other"] == 1
        # What is under it need not be counted again: seals and what came since, whatever there was before.
        with django_assert_num_queries(2):
            assert booked(kind="usage", word="task") == 3
        use("task:3")
        assert (booked(kind="usage", word="task"), booked(kind="usage", word="none")) == (4, 0)
        wait_past(Transfer.objects.latest("created_at").created_at)
        take_snapshot()
        use("task:4")
        assert booked(kind="usage", word="task") == 5

    def test_seals_of_before_are_counted_by_their_transfers(self, used, hours):
        for number in range(2):
            transfer(key=f"task:{number}", kind="usage", debit=hours, credit=used, amount=1)
            wait_past(Transfer.objects.latest("created_at").created_at)
            take_snapshot()
        _write_seals(kinds=None)
        transfer(key="task:2", kind="usage", debit=hours, credit=used, amount=1)
        assert booked(kind="usage", word="task") == 3

    def test_a_seal_that_counts_otherwise_is_found(self, used, hours):
        transfer(key="task:1", kind="usage", debit=hours, credit=used, amount=1)
        wait_past(Transfer.objects.latest("created_at").created_at)
        take_snapshot()
        kinds = TransferSeal.objects.get().kinds
        _write_seals(kinds={**kinds, "usage task": 9})
        assert any("other kinds" in said for said in problems())
        _write_seals(kinds=kinds)

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
                    may_commit.wait(120)
            finally:
                made.set()
                connection.close()

        thread = threading.Thread(target=long)
        thread.start()
        try:
            assert made.wait(120)
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
