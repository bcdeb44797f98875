"""Periods of contracts: each once, in order, whatever is missed, short, paused, changed or cancelled."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import OperationalError, connections, transaction

from accounts.choices import CapPeriod, PaysFrom
from accounts.ledger.models import Balance, Transfer
from accounts.ledger.services import freeze, hold, release
from accounts.models import Account
from accounts.services import hours_balance, set_cap, wallet_balance
from gaas.outbox.models import Mail
from gpus.models import Host
from payments import services
from payments.choices import ContractStatus
from payments.models import Contract, ContractPeriod, Review
from payments.services import TermsWanted, contract_tick
from payments.tests.deals import HOUR, USD, a_branch, agreed, an_owner, bring_on, bucket, day, has, periods, rich

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

JAN = day("2027-01-01")


@pytest.fixture
def branch(lab, bob) -> Account:
    rich(lab, usd=1000, hours=1000)
    return a_branch(lab, bob)


@pytest.fixture
def giving(lab, branch, alice, bob):
    """An allowance of 10 hours a month from the lab to its branch."""

    def make(at=JAN, starts="2027-01-01", **changes) -> Contract:
        return agreed("allowance", lab, branch, starts=starts, at=at, by=alice, yes=bob, **changes)

    return make


@pytest.fixture
def owner(olga) -> Account:
    return an_owner(olga)


@pytest.fixture
def reserving(lab, owner, alice, olga, settings):
    """A reservation of 10 hours a month for 20 dollars."""
    settings.PLATFORM_FEE_PERCENT = "10"
    rich(lab, usd=1000)

    def make(at=JAN, starts="2027-01-01", **changes) -> Contract:
        return agreed("reservation", lab, owner, starts=starts, at=at, by=alice, yes=olga, **changes)

    return make


def seen(owner: Account, at: datetime) -> None:
    """Let the owner's hosts have been heard at a moment."""
    Host.objects.filter(account=owner).update(last_sync_at=at)


class TestAllowance:
    def test_the_hours_come_each_month(self, giving, branch, lab):
        contract = bring_on(giving(), JAN)
        assert (has(branch, "hours"), has(lab, "hours")) == (10, 990)
        contract = bring_on(contract, day("2027-03-05"))
        assert periods(contract) == [(0, "PAID"), (1, "PAID"), (2, "PAID")]
        assert (has(branch, "hours"), contract.due_at) == (30, datetime(2027, 4, 1, tzinfo=UTC))

    def test_money_too(self, giving, branch):
        bring_on(giving(asset="USD", amount=5 * USD), day("2027-02-01"))
        assert has(branch, "wallet") == 10

    def test_what_was_not_used_goes_back_and_its_own_stays(self, giving, branch, lab):
        rich(branch, hours=7)
        contract = bring_on(giving(roll_over="return"), JAN)
        use(branch, 4)
        contract = bring_on(contract, day("2027-02-02"))
        # 17 less 4 used, less the 6 that were left of January's, and 10 for February.
        assert (has(branch, "hours"), has(lab, "hours")) == (17, 986)
        assert contract.periods.get(no=0).lapsed == 6 * HOUR

    def test_what_was_not_used_lapses(self, giving, branch, lab):
        contract = bring_on(giving(roll_over="expire"), JAN)
        bring_on(contract, day("2027-02-02"))
        assert (has(branch, "hours"), has(lab, "hours")) == (10, 980)

    def test_what_a_task_holds_counts_as_used(self, giving, branch):
        contract = bring_on(giving(roll_over="expire"), JAN)
        hold(balance=hours_balance(branch), amount=10 * HOUR, key="t", purpose="test")
        contract = bring_on(contract, day("2027-02-02"))
        assert contract.periods.get(no=0).lapsed == 0

    def test_it_ends_with_the_place_in_the_tree(self, giving, branch, lab):
        contract = giving()
        elsewhere = Account.objects.create(name="Elsewhere")
        Account.objects.filter(pk=branch.pk).update(parent=elsewhere, path=f"{elsewhere.path}{branch.pk}/")
        contract = bring_on(contract, JAN)
        assert (contract.status, contract.next_no) == (ContractStatus.ENDED, 0)

    def test_it_ends_with_an_account(self, giving, lab):
        contract = giving()
        Account.objects.filter(pk=lab.pk).update(closed_at=JAN)
        assert bring_on(contract, JAN).status == ContractStatus.ENDED
        Account.objects.filter(pk=lab.pk).update(closed_at=None)

    def test_nothing_for_who_spends_its_parents_hours(self, giving, branch):
        contract = giving()
        Account.objects.filter(pk=branch.pk).update(pays_from=PaysFrom.PARENT)
        contract = bring_on(contract, JAN)
        assert (contract.status, has(branch, "hours")) == (ContractStatus.PAST_DUE, 0)


class TestReservation:
    def test_the_owner_is_paid_and_the_hours_are_there(self, reserving, owner, lab):
        contract = bring_on(reserving(), JAN)
        assert (has(lab, "wallet"), has(owner, "earnings_pending"), bucket(contract)) == (980, 18, 10)
        assert Transfer.objects.get(key=f"contract:{contract.pk}:0:fee").amount == 2 * USD

    def test_case_63_reserved_bucket_not_used_lapses(self, reserving, owner):
        contract = bring_on(reserving(roll_over="expire"), JAN)
        seen(owner, day("2027-01-20"))
        contract = bring_on(contract, day("2027-02-02"))
        assert (bucket(contract), contract.periods.get(no=0).lapsed) == (10, 10 * HOUR)

    def test_case_63_or_is_carried_over(self, reserving, owner):
        contract = bring_on(reserving(roll_over="keep"), JAN)
        seen(owner, day("2027-01-20"))
        assert bucket(bring_on(contract, day("2027-02-02"))) == 20

    def test_case_63_owner_offline_all_month_nothing_lapses(self, reserving, owner):
        contract = bring_on(reserving(roll_over="expire"), JAN)
        seen(owner, day("2026-12-30"))
        contract = bring_on(contract, day("2027-02-02"))
        assert bucket(contract) == 20
        seen(owner, day("2027-02-20"))
        assert bucket(bring_on(contract, day("2027-03-02"))) == 10

    def test_case_63_what_tasks_hold_is_not_taken(self, reserving, owner):
        contract = bring_on(reserving(roll_over="expire", ends_on=date(2027, 2, 1)), JAN)
        seen(owner, day("2027-01-20"))
        held = hold(balance=services.bucket_of(contract), amount=4 * HOUR, key="t", purpose="test")
        contract = bring_on(contract, day("2027-02-02"))
        assert (contract.status, bucket(contract)) == (ContractStatus.ENDED, 0)
        release(hold_id=held.pk)
        contract = bring_on(contract, contract.due_at)
        assert (bucket(contract), contract.due_at) == (0, None)
        assert contract.periods.get(no=0).lapsed == 10 * HOUR

    def test_hours_that_came_late_last_as_long_as_others(self, reserving, owner):
        contract = reserving(roll_over="expire", ends_on=date(2027, 3, 1))
        late = day("2027-05-10")
        seen(owner, late)
        contract = bring_on(contract, late)
        assert (contract.status, bucket(contract)) == (ContractStatus.ENDED, 20)
        seen(owner, late + timedelta(days=3))
        # The later one's 28 days are over before the earlier one's 31.
        assert bucket(bring_on(contract, late + timedelta(days=29))) == 20
        assert bucket(bring_on(contract, late + timedelta(days=32))) == 0

    def test_a_family_cap_counts_what_a_child_reserves(self, child, family, owner, charlie, pat, olga, settings):
        settings.PLATFORM_FEE_PERCENT = "0"
        rich(family, usd=100)
        child.memberships.update(role="OWNER")
        contract = agreed("reservation", child, owner, starts="2027-01-01", at=JAN, by=charlie, yes=olga)
        set_cap(account=child, asset="USD", period=CapPeriod.MONTH, limit=30 * USD, by=pat, now=JAN)
        contract = bring_on(contract, JAN)
        assert (has(family, "wallet"), bucket(contract)) == (80, 10)
        set_cap(account=child, asset="USD", period=CapPeriod.MONTH, limit=10 * USD, by=pat, now=JAN)
        contract = bring_on(contract, day("2027-02-01"))
        assert (contract.status, has(family, "wallet")) == (ContractStatus.PAST_DUE, 80)
        assert "cap" in contract.trouble.lower()


class TestShortfall:
    def test_past_due_tried_again_and_paid(self, reserving, lab):
        contract = reserving()
        purse = empty(lab)
        contract = bring_on(contract, JAN)
        assert (contract.status, contract.tries, contract.next_no) == (ContractStatus.PAST_DUE, 1, 0)
        assert Mail.objects.filter(subject="Deal: past due").count() == 2
        assert bring_on(contract, JAN).tries == 1
        release(hold_id=purse)
        contract = bring_on(contract, JAN + timedelta(days=1))
        assert (contract.status, contract.next_no, contract.tries) == (ContractStatus.ACTIVE, 1, 0)

    @pytest.mark.parametrize(("catch_up", "paid"), [("skip", 1), ("charge", 2)])
    def test_suspended_after_some_tries_and_resumed(self, reserving, lab, alice, olga, settings, catch_up, paid):
        settings.CONTRACT_TRIES = 3
        contract, purse = reserving(catch_up=catch_up), empty(lab)
        for days in range(4):
            contract = bring_on(contract, JAN + timedelta(days=days))
        assert (contract.status, contract.tries) == (ContractStatus.SUSPENDED, 3)
        release(hold_id=purse)
        later = day("2027-02-10")
        assert bring_on(contract, later).status == ContractStatus.SUSPENDED
        services.resume_contract(contract_id=contract.pk, by=alice, now=later)
        contract = bring_on(contract, day("2027-03-01"))
        statuses = [status for _, status in periods(contract)]
        assert len(statuses) == 3
        assert statuses.count("PAID") == paid + (1 if catch_up == "charge" else 0)

    def test_or_that_period_is_left_out(self, reserving, lab):
        contract, purse = reserving(shortfall="skip"), empty(lab)
        contract = bring_on(contract, JAN)
        release(hold_id=purse)
        assert periods(bring_on(contract, day("2027-02-01"))) == [(0, "SKIPPED"), (1, "PAID")]

    def test_case_59_payer_short_in_month_2_of_3_missed(self, reserving, lab):
        contract = reserving(price=400 * USD)
        late = day("2027-03-02")
        contract = bring_on(contract, late)
        # 1000 dollars pay two of them; the third waits in its turn.
        assert (contract.status, periods(contract)) == (ContractStatus.PAST_DUE, [(0, "PAID"), (1, "PAID")])
        rich(lab, usd=200)
        contract = bring_on(contract, late + timedelta(days=1))
        assert (contract.status, len(periods(contract)), has(lab, "wallet")) == (ContractStatus.ACTIVE, 3, 0)

    @pytest.mark.parametrize("whose", ["payer", "payee"])
    def test_a_frozen_account(self, reserving, lab, owner, whose):
        contract = reserving()
        frozen = wallet_balance(lab)
        if whose == "payee":
            bring_on(contract, JAN)
            frozen = Balance.objects.get(owner_key=owner.owner_key, kind="earnings_pending")
        freeze(balance=frozen, incoming=True, outgoing=True)
        contract = bring_on(contract, day("2027-02-01"))
        assert contract.status == ContractStatus.PAST_DUE
        assert "frozen" in contract.trouble
        freeze(balance=frozen, incoming=False, outgoing=False)
        assert bring_on(contract, day("2027-02-02")).status == ContractStatus.ACTIVE


class TestPauses:
    @pytest.mark.parametrize(("catch_up", "hours"), [("skip", 20), ("charge", 50)])
    def test_case_61_paused_over_several_periods_then_resumed(self, giving, branch, alice, catch_up, hours):
        contract = bring_on(giving(catch_up=catch_up), JAN)
        services.pause_contract(contract_id=contract.pk, by=alice, now=day("2027-01-10"))
        contract = bring_on(contract, day("2027-04-10"))
        assert (contract.next_no, contract.due_at) == (1, None)
        services.resume_contract(contract_id=contract.pk, by=alice, now=day("2027-04-20"))
        contract = bring_on(contract, day("2027-05-01"))
        assert ([no for no, _ in periods(contract)], has(branch, "hours")) == ([0, 1, 2, 3, 4], hours)

    def test_case_61_two_pauses_that_nobody_ticked_between(self, giving, branch, alice):
        contract = bring_on(giving(), JAN)
        for pause, resume in (("2027-01-10", "2027-02-10"), ("2027-03-10", "2027-04-10")):
            services.pause_contract(contract_id=contract.pk, by=alice, now=day(pause))
            services.resume_contract(contract_id=contract.pk, by=alice, now=day(resume))
        contract = bring_on(contract, day("2027-05-02"))
        assert [status for _, status in periods(contract)] == ["PAID", "SKIPPED", "PAID", "SKIPPED", "PAID"]

    def test_what_was_due_before_the_pause_is_owed(self, giving, branch, alice):
        contract = giving()
        services.pause_contract(contract_id=contract.pk, by=alice, now=day("2027-02-10"))
        assert periods(bring_on(contract, day("2027-06-01"))) == [(0, "PAID"), (1, "PAID")]

    def test_reserved_hours_lapse_in_a_pause_too(self, reserving, owner, alice):
        contract = bring_on(reserving(roll_over="expire"), JAN)
        services.pause_contract(contract_id=contract.pk, by=alice, now=day("2027-01-10"))
        seen(owner, day("2027-01-20"))
        assert bucket(bring_on(contract, day("2027-01-30"))) == 10
        assert bucket(bring_on(contract, day("2027-02-02"))) == 0


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
        empty(lab)
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

    def test_cancelled_in_a_pause_it_ends_without_what_fell_into_it(self, giving, alice):
        contract = bring_on(giving(catch_up="charge"), JAN)
        services.pause_contract(contract_id=contract.pk, by=alice, now=day("2027-01-10"))
        services.cancel_contract(contract_id=contract.pk, by=alice, now=day("2027-03-10"))
        contract = bring_on(contract, day("2027-04-02"))
        assert (contract.status, contract.next_no) == (ContractStatus.ENDED, 1)


class TestChangedTerms:
    def test_case_60_terms_changed_mid_period(self, giving, branch, alice, bob):
        contract = bring_on(giving(), JAN)
        middle = day("2027-01-15")
        services.propose_terms(
            contract_id=contract.pk, terms=TermsWanted(asset="GPU", amount=3 * HOUR), by=alice, now=middle
        )
        assert has(branch, "hours") == 10
        contract = services.accept_terms(contract_id=contract.pk, version=2, by=bob, now=middle)
        bring_on(contract, day("2027-01-31"))
        assert has(branch, "hours") == 10
        bring_on(contract, day("2027-02-01"))
        assert has(branch, "hours") == 13

    def test_case_60_nor_for_periods_that_were_missed(self, giving, branch, alice, bob):
        contract = giving()
        at = day("2027-02-15")
        services.propose_terms(
            contract_id=contract.pk, terms=TermsWanted(asset="GPU", amount=3 * HOUR), by=alice, now=at
        )
        services.accept_terms(contract_id=contract.pk, version=2, by=bob, now=at)
        bring_on(contract, day("2027-03-01"))
        assert has(branch, "hours") == 23

    def test_case_60_they_wait_for_both(self, giving, branch, alice):
        contract = giving()
        services.propose_terms(contract_id=contract.pk, terms=TermsWanted(asset="GPU", amount=HOUR), by=alice, now=JAN)
        bring_on(contract, day("2027-02-01"))
        assert has(branch, "hours") == 20


class TestClock:
    def test_case_57_clock_back(self, giving):
        contract = bring_on(giving(), day("2027-02-01"))
        for before in ("2027-01-31", "2026-01-01"):
            assert bring_on(contract, day(before)).next_no == 2
        assert bring_on(contract, day("2027-03-01")).next_no == 3

    def test_case_57_dst_day_and_the_31st(self, giving):
        contract = bring_on(giving(starts="2027-01-31", time_zone="Africa/Cairo"), day("2027-12-31"))
        due = list(contract.periods.order_by("no").values_list("due_at", flat=True))
        assert [moment.strftime("%d %H") for moment in due[:5]] == ["30 22", "27 22", "30 22", "29 22", "30 21"]
        assert len(due) == 12

    def test_case_56_two_schedulers_24_missed_months_exactly_24(self, giving, branch):
        contract = giving()
        late = day("2028-12-15")
        for _ in range(24):
            services.tick(contract_id=contract.pk, now=late)
            services.tick_all(now=JAN)
        services.tick_all(now=late)
        contract.refresh_from_db()
        assert (contract.next_no, contract.periods.count(), has(branch, "hours")) == (24, 24, 240)


def use(account: Account, hours: int) -> None:
    """Have a task use hours."""
    from accounts.ledger.services import Leg, capture, platform_balance

    key = f"use:{account.pk}"
    made = hold(balance=hours_balance(account), amount=hours * HOUR, key=key, purpose="test")
    used = platform_balance(asset="GPU", kind="used")
    capture(hold_id=made.pk, legs=[Leg(credit=used, amount=hours * HOUR, kind="usage", key=key)], final=True)


def empty(account: Account) -> object:
    """Hold all money of an account."""
    purse = wallet_balance(account)
    return hold(balance=purse, amount=purse.available, key=f"empty:{account.pk}", purpose="test").pk


class TestFaults:
    def test_those_that_always_raise_keep_nobody_waiting(self, giving, branch, monkeypatch):
        monkeypatch.setattr(contract_tick, "BATCH", 2)
        broken = [giving() for _ in range(2)]
        Contract.objects.filter(pk__in=[row.pk for row in broken]).update(
            time_zone="Nowhere/Land", due_at=JAN - timedelta(days=9)
        )
        sound = giving()
        for seconds in (1, 2):
            services.tick_all(now=JAN + timedelta(seconds=seconds))
        assert (periods(sound), has(branch, "hours")) == ([(0, "PAID")], 10)
        # Put off for longer and longer, and never for good.
        waits = []
        for _ in range(12):
            row = Contract.objects.get(pk=broken[0].pk)
            services.tick_all(now=row.due_at)
            after = Contract.objects.get(pk=row.pk)
            waits.append(after.due_at - row.due_at)
        assert (waits == sorted(waits), waits[0], waits[-1]) == (True, timedelta(minutes=2), timedelta(hours=6))
        Contract.objects.filter(pk=broken[0].pk).update(time_zone="UTC")
        bring_on(Contract.objects.get(pk=broken[0].pk), JAN)
        assert has(branch, "hours") == 20

    def test_what_was_mended_starts_from_the_beginning(self, giving):
        contract = giving()
        Contract.objects.filter(pk=contract.pk).update(faults=5)
        services.tick_all(now=JAN)
        contract.refresh_from_db()
        assert (contract.faults, contract.next_no) == (0, 1)

    def test_one_with_much_to_catch_up_shares_its_pass(self, giving, monkeypatch):
        monkeypatch.setattr(contract_tick, "MOST_STEPS", 3)
        contract = giving()
        services.tick_all(now=day("2028-01-02"))
        contract.refresh_from_db()
        assert contract.next_no == 3


@pytest.mark.usefixtures("postgresql")
class TestRaces:
    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("verb", ["pause", "propose"])
    def test_what_met_a_lock_is_tried_again(self, giving, alice, verb):
        """Somebody holds the contract for longer than the database waits for a lock."""
        contract = giving()
        is_held, is_refused = threading.Event(), threading.Event()

        def hold_it() -> None:
            with transaction.atomic():
                Contract.objects.select_for_update().get(pk=contract.pk)
                is_held.set()
                is_refused.wait(60)
            connections.close_all()

        def watch(execute, sql, params, many, context):
            try:
                return execute(sql, params, many, context)
            except OperationalError:
                is_refused.set()
                raise

        thread = threading.Thread(target=hold_it)
        thread.start()
        assert is_held.wait(60)
        connection = connections["default"]
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '200ms'")
        try:
            with connection.execute_wrapper(watch):
                if verb == "pause":
                    services.pause_contract(contract_id=contract.pk, by=alice, now=JAN)
                else:
                    terms = TermsWanted(asset="GPU", amount=HOUR)
                    services.propose_terms(contract_id=contract.pk, terms=terms, by=alice, now=JAN)
        finally:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = 0")
            thread.join()
        assert is_refused.is_set()

    @pytest.mark.django_db(transaction=True)
    def test_case_56_eight_schedulers_at_once(self, giving, branch):
        contract, late = giving(), day("2028-12-15")

        def run() -> None:
            services.tick_all(now=late)
            connections.close_all()

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ContractPeriod.objects.filter(contract=contract).count() == 24
        assert has(branch, "hours") == 240
