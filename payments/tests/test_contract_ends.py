"""How contracts end: by their terms, by a cancel, with an account, or because an owner is gone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from accounts.ledger.services import freeze, hold, release
from accounts.models import Account
from gaas.outbox.models import Mail
from payments import services
from payments.choices import ContractStatus
from payments.models import Review
from payments.tests.deals import HOUR, JAN, USD, bring_on, bucket, day, emptied, has, seen

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


class TestEnds:
    def test_case_62_ends_on_equal_to_due_date(self, giving, branch):
        contract = bring_on(giving(ends_on=date(2027, 3, 1)), day("2027-06-01"))
        assert (contract.status, contract.next_no, has(branch, "hours")) == (ContractStatus.ENDED, 2, 20)

    def test_an_end_within_a_period_lets_that_one_run_out(self, giving):
        contract = bring_on(giving(ends_on=date(2027, 2, 2)), day("2027-02-10"))
        assert (contract.status, contract.next_no) == (ContractStatus.ACTIVE, 2)
        assert bring_on(contract, day("2027-03-01")).status == ContractStatus.ENDED

    def test_it_is_renewed_for_as_long_again(self, giving, alice):
        contract = bring_on(giving(ends_on=date(2027, 3, 1), renewal="renew"), day("2027-08-02"))
        assert (contract.status, contract.next_no, contract.terms.get().renewals) == (ContractStatus.ACTIVE, 8, 3)
        services.cancel_contract(contract_id=contract.pk, by=alice, now=day("2027-08-03"))
        contract = bring_on(contract, day("2027-12-01"))
        assert (contract.status, contract.next_no) == (ContractStatus.ENDED, 8)

    def test_case_58_cancel_vs_due_at_the_same_second(self, giving, alice):
        first = datetime(2027, 2, 1, tzinfo=UTC)
        for at, owed in ((first, 2), (first - timedelta(microseconds=1), 1)):
            for ticks_first in (True, False):
                contract = bring_on(giving(), JAN)
                if ticks_first:
                    bring_on(contract, at)
                services.cancel_contract(contract_id=contract.pk, by=alice, now=at)
                contract = bring_on(contract, day("2027-06-01"))
                assert (contract.status, contract.next_no) == (ContractStatus.ENDED, owed)

    def test_what_a_freeze_kept_from_lapsing_is_given_to_nobody(self, reserving, owner):
        contract = bring_on(reserving(roll_over="expire", ends_on=date(2027, 2, 1)), JAN)
        seen(owner, day("2027-01-20"))
        assert services.gives_hours(contract, now=day("2027-01-20"))
        left = services.bucket_of(contract)
        freeze(balance=left, incoming=False, outgoing=True)
        over = day("2027-02-02")
        contract = bring_on(contract, over)
        freeze(balance=left, incoming=False, outgoing=False)
        assert (contract.status, bucket(contract)) == (ContractStatus.ENDED, 10)
        assert not services.gives_hours(contract, now=over)
        assert contract.due_at == over + timedelta(hours=6)
        contract = bring_on(contract, contract.due_at)
        assert (bucket(contract), contract.due_at) == (0, None)

    def test_nor_what_a_task_gives_back_when_it_is_over(self, reserving, owner):
        contract = bring_on(reserving(roll_over="expire", ends_on=date(2027, 2, 1)), JAN)
        seen(owner, day("2027-01-20"))
        held = hold(balance=services.bucket_of(contract), amount=4 * HOUR, key="t", purpose="test")
        over = day("2027-02-02")
        contract = bring_on(contract, over)
        release(hold_id=held.pk)
        assert (contract.status, bucket(contract)) == (ContractStatus.ENDED, 4)
        assert not services.gives_hours(contract, now=over)

    def test_what_was_carried_on_is_given_after_the_end(self, reserving, owner):
        contract = bring_on(reserving(roll_over="expire", ends_on=date(2027, 2, 1)), JAN)
        seen(owner, day("2026-12-30"))
        contract = bring_on(contract, day("2027-02-02"))
        assert (contract.status, bucket(contract)) == (ContractStatus.ENDED, 10)
        assert services.gives_hours(contract, now=day("2027-02-20"))
        assert not services.gives_hours(contract, now=day("2027-03-20"))

    def test_cancelled_in_a_pause_it_ends_without_what_fell_into_it(self, giving, alice):
        contract = bring_on(giving(catch_up="charge"), JAN)
        services.pause_contract(contract_id=contract.pk, by=alice, now=day("2027-01-10"))
        services.cancel_contract(contract_id=contract.pk, by=alice, now=day("2027-03-10"))
        contract = bring_on(contract, day("2027-04-02"))
        assert (contract.status, contract.next_no) == (ContractStatus.ENDED, 1)


class TestOwnerIsGone:
    """case 63: what was paid for is carried on for a while, not for ever."""

    @pytest.mark.parametrize("roll_over", ["expire", "keep"])
    def test_it_ends_and_staff_are_asked_about_the_price(self, reserving, lab, owner, roll_over):
        contract = bring_on(reserving(roll_over=roll_over), JAN)
        for month in ("02", "03"):
            contract = bring_on(contract, day(f"2027-{month}-02"))
            assert contract.status == ContractStatus.ACTIVE
        assert bucket(contract) == 30
        contract = bring_on(contract, day("2027-04-05"))
        assert (contract.status, bucket(contract), contract.next_no) == (ContractStatus.ENDED, 0, 3)
        # A fourth period was never paid.
        assert has(lab, "wallet") == 1000 - 60
        review = Review.objects.get(code="owner_gone")
        assert (review.facts["periods"], review.facts["price_microusd"]) == ([0, 1, 2], 60 * USD)
        assert Mail.objects.filter(body__contains="No host of GPU owner was seen since 2027-01-01").exists()

    def test_it_goes_on_for_one_who_came_back(self, reserving, owner):
        contract = bring_on(reserving(roll_over="expire"), JAN)
        contract = bring_on(contract, day("2027-03-02"))
        seen(owner, day("2027-03-20"))
        contract = bring_on(contract, day("2027-04-15"))
        assert contract.status == ContractStatus.ACTIVE
        assert not Review.objects.exists()

    def test_a_paused_one_stays_and_its_hours_lapse(self, reserving, alice):
        contract = bring_on(reserving(roll_over="expire"), JAN)
        services.pause_contract(contract_id=contract.pk, by=alice, now=day("2027-01-10"))
        for month in range(2, 8):
            contract = bring_on(contract, day(f"2027-{month:02}-15"))
        assert (contract.status, bucket(contract), contract.due_at) == (ContractStatus.PAUSED, 0, None)

    def test_what_a_cancelled_one_left_lapses_in_the_end(self, reserving, alice):
        contract = bring_on(reserving(roll_over="expire"), JAN)
        services.cancel_contract(contract_id=contract.pk, by=alice, now=day("2027-01-10"))
        for month in range(2, 8):
            contract = bring_on(contract, day(f"2027-{month:02}-15"))
        assert (contract.status, bucket(contract), contract.due_at) == (ContractStatus.ENDED, 0, None)


class TestAbandoned:
    """Accounts know nothing of contracts: what rests is found by whose account was closed or moved away."""

    def test_a_paused_reservation_ends_and_its_bucket_lapses_with_its_period(self, reserving, lab, owner, alice):
        contract = bring_on(reserving(roll_over="keep"), JAN)
        services.pause_contract(contract_id=contract.pk, by=alice, now=day("2027-01-10"))
        contract = bring_on(contract, day("2027-01-10"))
        Account.objects.filter(pk=lab.pk).update(closed_at=day("2027-01-11"))
        services.tick_all(now=day("2027-01-12"))
        contract.refresh_from_db()
        assert (contract.status, bucket(contract)) == (ContractStatus.ENDED, 10)
        assert Mail.objects.filter(body__contains="was closed").exists()
        seen(owner, day("2027-01-20"))
        services.tick_all(now=day("2027-02-02"))
        contract.refresh_from_db()
        assert (bucket(contract), contract.due_at) == (0, None)
        Account.objects.filter(pk=lab.pk).update(closed_at=None)

    def test_nothing_is_left_when_its_last_period_was_closed_before(self, reserving, owner, alice):
        contract = bring_on(reserving(roll_over="keep"), JAN)
        services.pause_contract(contract_id=contract.pk, by=alice, now=day("2027-01-10"))
        seen(owner, day("2027-01-20"))
        contract = bring_on(contract, day("2027-03-10"))
        assert (bucket(contract), contract.due_at) == (10, None)
        Account.objects.filter(pk=owner.pk).update(closed_at=day("2027-03-10"))
        services.tick_all(now=day("2027-03-11"))
        contract.refresh_from_db()
        assert (contract.status, bucket(contract)) == (ContractStatus.ENDED, 0)
        Account.objects.filter(pk=owner.pk).update(closed_at=None)

    def test_a_suspended_one_ends(self, reserving, lab, settings):
        settings.CONTRACT_TRIES = 1
        emptied(lab)
        contract = bring_on(reserving(price=2000 * USD), JAN)
        assert contract.status == ContractStatus.SUSPENDED
        Account.objects.filter(pk=lab.pk).update(closed_at=JAN)
        services.tick_all(now=day("2027-01-02"))
        contract.refresh_from_db()
        assert contract.status == ContractStatus.ENDED
        Account.objects.filter(pk=lab.pk).update(closed_at=None)

    def test_a_paused_allowance_ends_with_the_place_in_the_tree(self, giving, branch, alice):
        contract = bring_on(giving(), JAN)
        services.pause_contract(contract_id=contract.pk, by=alice, now=day("2027-01-10"))
        elsewhere = Account.objects.create(name="Elsewhere")
        Account.objects.filter(pk=branch.pk).update(parent=elsewhere, path=f"{elsewhere.path}{branch.pk}/")
        services.tick_all(now=day("2027-01-12"))
        contract.refresh_from_db()
        assert contract.status == ContractStatus.ENDED

    def test_one_whose_accounts_are_open_rests(self, giving, alice):
        contract = bring_on(giving(), JAN)
        services.pause_contract(contract_id=contract.pk, by=alice, now=day("2027-01-10"))
        services.tick_all(now=day("2028-01-12"))
        contract.refresh_from_db()
        assert contract.status == ContractStatus.PAUSED
