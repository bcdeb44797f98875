import pytest
from django.db import IntegrityError, transaction
from django.db.models import F

from accounts.ledger.choices import LIMIT
from accounts.ledger.models import Asset, Balance, Hold, Transfer
from accounts.ledger.services import (
    BalanceFrozen,
    close,
    freeze,
    hold,
    open_balance,
    platform_balance,
    transfer,
)
from accounts.ledger.tests.conftest import state_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


class TestOpenBalance:
    def test_it_gives_the_one_there_is(self, hours):
        again = open_balance(asset="GPU", kind="hours", owner_key="acct:alice", floor=-5)
        assert (again, again.floor) == (hours, 0)

    def test_an_owner_has_one_for_each_asset_and_kind(self, hours, wallet):
        assert open_balance(asset="USD", kind="earnings", owner_key="acct:alice") not in (hours, wallet)

    def test_a_platform_key_is_refused(self):
        with pytest.raises(ValueError, match="platform_balance"):
            open_balance(asset="GPU", kind="grant", owner_key="sys:grant")

    def test_the_assets_are_there(self):
        assert list(Asset.objects.values_list("code", "kind", "scale")) == [
            ("GPU", "hours", 3_600_000),
            ("USD", "currency", 1_000_000),
        ]


class TestPlatformBalance:
    def test_it_stores_no_sum_and_adds_up(self, grant, hours):
        grant.refresh_from_db()
        assert (grant.posted, grant.is_lazy, grant.total(), grant.owner_key) == (None, True, -100, "sys:grant")

    def test_it_is_not_written_by_a_payment(self, used, hours):
        before = Balance.objects.get(pk=used.pk).updated_at
        transfer(key="t", kind="k", debit=hours, credit=used, amount=1)
        assert Balance.objects.get(pk=used.pk).updated_at == before


class TestFreeze:
    def test_it_is_lifted_again(self, hours):
        freeze(balance=hours, incoming=True, outgoing=True)
        freeze(balance=hours, incoming=False, outgoing=False)
        hours.refresh_from_db()
        assert (hours.frozen_in, hours.frozen_out) == (False, False)


class TestClose:
    def test_it_closes_an_empty_balance_once(self, funded):
        empty = funded("bob", 0)
        close(balance=empty)
        closed_at = Balance.objects.get(pk=empty.pk).closed_at
        close(balance=empty)
        assert Balance.objects.get(pk=empty.pk).closed_at == closed_at is not None

    def test_one_with_something_in_it_is_refused(self, hours):
        with pytest.raises(BalanceFrozen, match="empty"):
            close(balance=hours)

    def test_one_with_something_promised_is_refused(self):
        credit_line = open_balance(asset="USD", kind="wallet", owner_key="acct:credit", floor=None)
        hold(balance=credit_line, amount=1, key="h", purpose="task")
        with pytest.raises(BalanceFrozen):
            close(balance=credit_line)


class TestRows:
    """The rows refuse whoever goes around the services."""

    def test_save_and_delete_are_refused(self, hours, grant):
        held = hold(balance=hours, amount=1, key="h", purpose="task")
        for row in (hours, held, Transfer.objects.get(credit=hours)):
            for write in (row.save, row.delete):
                with pytest.raises(TypeError):
                    write()
        with pytest.raises(TypeError):
            Balance.objects.create(asset_id="GPU", kind="hours", owner_key="acct:x")

    @pytest.mark.parametrize(
        "change",
        [
            {"posted": -1},
            {"held": 101},
            {"held": -1},
            {"floor": 101},
            {"posted": None},
            {"posted": LIMIT + 1},
            {"owner_key": "sys:alice"},
            {"closed_at": "2026-01-01T00:00Z"},
            {"asset_id": "USD"},
            {"kind": "wallet"},
        ],
    )
    def test_the_database_refuses_a_wrong_balance(self, hours, change):
        with pytest.raises(IntegrityError), transaction.atomic():
            Balance.objects.filter(pk=hours.pk).update(**change)
        assert state_of(hours) == (100, 0)

    @pytest.mark.parametrize("change", [{"held": 1}, {"floor": 0}, {"posted": 0}])
    def test_the_database_refuses_a_platform_balance_that_stores_something(self, grant, change):
        with pytest.raises(IntegrityError), transaction.atomic():
            Balance.objects.filter(pk=grant.pk).update(**change)

    @pytest.mark.parametrize(
        "change",
        [
            {"captured": 61},
            {"captured": 40, "released": 21},
            {"released": -1},
            {"amount": 59},
            {"state": "captured"},
            {"state": "lost"},
            {"closed_at": "2026-01-01T00:00Z"},
        ],
    )
    def test_the_database_refuses_a_wrong_hold(self, hours, change):
        held = hold(balance=hours, amount=60, key="h", purpose="task")
        with pytest.raises(IntegrityError), transaction.atomic():
            Hold.objects.filter(pk=held.pk).update(**change)

    @pytest.mark.parametrize(
        "change", [{"amount": 0}, {"amount": -1}, {"amount": LIMIT}, {"credit": F("debit")}, {"key": "fund:alice:GPU"}]
    )
    def test_the_database_refuses_a_wrong_transfer(self, hours, used, change):
        fields = {"key": "t", "kind": "k", "asset_id": "GPU", "debit_id": hours.pk, "credit_id": used.pk, "amount": 1}
        if "credit" in change:
            change = {"credit_id": hours.pk}
        with pytest.raises(IntegrityError), transaction.atomic():
            Transfer.objects.bulk_create([Transfer(**fields | change)])
        assert platform_balance(asset="GPU", kind="used").total() == 0
