"""Periods of contracts: each once and in order, whatever is missed, whoever looks, by whatever clock."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import OperationalError, connections, transaction

from accounts.choices import CapPeriod, PaysFrom
from accounts.ledger.models import Transfer
from accounts.ledger.services import hold, release
from accounts.models import Account
from accounts.services import hours_balance, set_cap
from payments import services
from payments.choices import ContractStatus
from payments.models import Contract, ContractPeriod
from payments.services import TermsWanted, contract_tick
from payments.tests.deals import HOUR, JAN, USD, agreed, bring_on, bucket, day, has, periods, rich, seen, used

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


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
        used(branch, 4)
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

    def test_what_cannot_be_divided_is_the_owners(self, reserving):
        contract = bring_on(reserving(price=20 * USD + 9), JAN)
        parts = Transfer.objects.filter(key__startswith=f"contract:{contract.pk}:0:", asset="USD")
        assert dict(parts.values_list("kind", "amount")) == {"reservation": 18_000_009, "reservation_fee": 2_000_000}

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

    def test_what_somebody_decided_meanwhile_is_not_put_off(self, giving):
        """Between the fault and the note of it another process commits: here the log's handler stands for it."""
        contract, soon = giving(), JAN + timedelta(seconds=1)
        Contract.objects.filter(pk=contract.pk).update(time_zone="Nowhere/Land", faults=9, due_at=JAN)

        class Meanwhile(logging.Handler):
            def emit(self, record):
                Contract.objects.filter(pk=contract.pk).update(due_at=soon)

        log, meanwhile = logging.getLogger("app"), Meanwhile()
        log.addHandler(meanwhile)
        try:
            services.tick_all(now=JAN)
        finally:
            log.removeHandler(meanwhile)
        contract.refresh_from_db()
        assert (contract.due_at, contract.faults) == (soon, 9)
        services.tick_all(now=soon)
        contract.refresh_from_db()
        assert (contract.due_at, contract.faults) == (soon + timedelta(hours=6), 10)

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
