import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from accounts.ledger import check, sql, triggers
from accounts.ledger.models import Balance, BalanceSnapshot, Cap, Hold, Transfer, TransferSeal
from accounts.ledger.services import hold, open_cap, take_snapshot, transfer
from accounts.ledger.tests.conftest import OWN, problems
from gaas.lib.clock import now

pytestmark = pytest.mark.django_db


@pytest.fixture
def held(hours):
    start = now()
    cap = open_cap(asset="GPU", owner_key="acct:alice", starts_at=start, ends_at=start.replace(year=2999), limit=99)
    return hold(balance=hours, amount=40, key="h", purpose="task", caps=[cap])


@pytest.fixture
def unguarded(db):
    """Take the triggers away, as somebody with the database's prompt could."""
    triggers.remove(connection)
    yield
    triggers.install(connection)


def broken() -> set[int]:
    return {result.number for result in check.run(only=OWN) if result.problems}


class TestCheck:
    def test_sound_books_have_no_problem(self, held, wallet):
        assert problems() == []
        assert [result.number for result in check.run(only=OWN)] == list(OWN)

    def test_01_a_changed_sum_is_found(self, hours):
        Balance.objects.filter(pk=hours.pk).update(posted=101)
        assert {1, 5, 10} <= broken()

    def test_01_a_changed_snapshot_is_found(self, hours, grant):
        before = Transfer.objects.latest("created_at").created_at.replace(year=2020)
        take_snapshot(before=before)
        BalanceSnapshot.objects.filter(balance=grant).update(posted=5)
        assert {1, 5} <= broken()

    def test_02_a_changed_held_is_found(self, held, hours):
        Balance.objects.filter(pk=hours.pk).update(held=41)
        assert broken() == {2}

    def test_04_a_capture_without_transfer_is_found(self, held):
        Hold.objects.filter(pk=held.pk).update(captured=1)
        assert {2, 4} <= broken()

    def test_06_a_transfer_across_assets_is_found(self, hours, wallet, unguarded):
        row = Transfer(key="x", kind="k", asset_id="GPU", debit=hours, credit=wallet, amount=1)
        Transfer.objects.bulk_create([row])
        assert {1, 6, 7} <= broken()

    def test_07_a_change_under_a_seal_is_found(self, hours, used, unguarded):
        transfer(key="t", kind="k", debit=hours, credit=used, amount=1)
        Transfer.objects.update(created_at=now().replace(year=2020))
        take_snapshot(before=now().replace(year=2021))
        triggers.install(connection)
        assert TransferSeal.objects.get().count == 2
        assert 7 not in broken()
        triggers.remove(connection)
        with transaction.atomic():
            Transfer.objects.filter(key="t").update(memo="innocent")
            triggers.install(connection)
            assert any("was changed" in problem for problem in problems())
            triggers.remove(connection)
            Transfer.objects.filter(key="t")._raw_delete("default")
            triggers.install(connection)
            assert any("there were 2 transfers, now 1" in problem for problem in problems())

    def test_10_hours_from_nowhere_are_found(self, hours, grant, unguarded):
        Transfer.objects.all()._raw_delete("default")
        assert {1, 5, 10} <= broken()

    def test_14_a_changed_cap_is_found(self, held):
        Cap.objects.update(used=41)
        assert broken() == {14}

    def test_a_number_is_registered_once(self):
        with pytest.raises(ValueError, match="twice"):
            check.register(1, "again")(list)


class TestCommand:
    def test_it_prints_each_invariant(self, hours, capsys):
        call_command("ledger_check")
        out = capsys.readouterr().out
        assert "posted = credits − debits" in out
        assert "invariants hold." in out

    def test_it_ends_with_1_and_says_what_is_broken(self, held, hours, capsys):
        Balance.objects.filter(pk=hours.pk).update(held=41)
        with pytest.raises(CommandError, match=r"Broken: 2") as ended:
            call_command("ledger_check")
        assert ended.value.returncode == 1
        assert "acct:alice hours has 41 held, but its open holds come to 40." in capsys.readouterr().out


@pytest.mark.django_db(transaction=True)
class TestConsistentRead:
    def test_it_sees_one_moment_and_ends(self, hours):
        with sql.consistent_read():
            assert Balance.objects.filter(pk=hours.pk).exists()
        with transaction.atomic():
            assert not problems()
        assert not problems()
