import pytest
from django.db import IntegrityError, connection, transaction

from accounts.ledger import triggers
from accounts.ledger.models import Asset, Balance, Transfer
from accounts.ledger.tests.conftest import problems

pytestmark = pytest.mark.django_db


def run(statement, *params):
    with connection.cursor() as cursor:
        cursor.execute(statement, params)


@pytest.fixture
def made(hours):
    return Transfer.objects.get(credit=hours)


class TestTriggers:
    def test_they_stand_after_migrate(self):
        assert triggers.missing(connection) == []

    def test_each_that_falls_is_named(self):
        triggers.remove(connection)
        assert "ledger_transfer_one_asset" in triggers.missing(connection)
        assert any("does not stand" in problem for problem in problems())
        triggers.install(connection)
        triggers.install(connection)
        assert triggers.missing(connection) == []

    @pytest.mark.parametrize(
        "attack",
        [
            lambda row: Transfer.objects.filter(pk=row.pk).update(amount=1),
            lambda row: Transfer.objects.filter(pk=row.pk).update(memo="innocent"),
            lambda row: Transfer.objects.filter(pk=row.pk).delete(),
            lambda row: Transfer.objects.all()._raw_delete("default"),
            lambda row: Transfer.objects.bulk_update([row], ["key"]),
            lambda row: run("UPDATE ledger_transfer SET amount = 1"),
            lambda row: run("DELETE FROM ledger_transfer"),
            lambda row: run("DELETE FROM ledger_transfer WHERE key = %s", row.key),
        ],
    )
    def test_case_09_update_and_delete_are_refused(self, made, attack):
        with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
            attack(made)
        made.refresh_from_db()
        assert made.amount == 100

    @pytest.mark.parametrize("tables", ["ledger_transfer", "ledger_hold CASCADE", "ledger_balance CASCADE"])
    def test_case_09_truncate_is_refused(self, made, tables):
        if connection.vendor != "postgresql":
            pytest.skip("SQLite has no TRUNCATE")
        # The foreign keys of the row just made are checked at the commit, and PostgreSQL waits for that.
        connection.check_constraints()
        with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
            run(f"TRUNCATE {tables}")

    def test_case_09_replace_is_refused(self, made):
        if connection.vendor != "sqlite":
            pytest.skip("only SQLite has INSERT OR REPLACE")
        columns = 'id, key, kind, asset_id, debit_id, credit_id, amount, "group", ref, actor, memo'
        statement = (
            f"INSERT OR REPLACE INTO ledger_transfer ({columns}) "
            "SELECT id, key, kind, asset_id, debit_id, credit_id, 1, '', '', '', '' FROM ledger_transfer"
        )
        with pytest.raises(IntegrityError), transaction.atomic():
            run(statement)
        made.refresh_from_db()
        assert made.amount == 100

    def test_case_07_a_transfer_across_assets_is_refused_by_the_database(self, hours, wallet):
        for asset in ("GPU", "USD"):
            row = Transfer(key="x", kind="k", asset_id=asset, debit=hours, credit=wallet, amount=1)
            with pytest.raises(IntegrityError, match="its asset"), transaction.atomic():
                Transfer.objects.bulk_create([row])

    def test_case_07_a_transfer_in_a_third_asset_is_refused_by_the_database(self, hours, used):
        Asset.objects.create(code="EUR", kind="currency", scale=1_000_000)
        row = Transfer(key="x", kind="k", asset_id="EUR", debit=hours, credit=used, amount=1)
        with pytest.raises(IntegrityError, match="its asset"), transaction.atomic():
            Transfer.objects.bulk_create([row])

    def test_a_balance_keeps_what_it_is(self, hours):
        for change in ({"asset_id": "USD"}, {"kind": "gift"}, {"owner_key": "acct:charlie"}):
            with pytest.raises(IntegrityError, match="keeps"), transaction.atomic():
                Balance.objects.filter(pk=hours.pk).update(**change)
