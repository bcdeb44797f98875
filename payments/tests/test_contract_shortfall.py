"""Periods that could not be paid, and those that fell into a pause."""

from __future__ import annotations

from datetime import timedelta

import pytest

from accounts.ledger.models import Balance
from accounts.ledger.services import freeze, release
from accounts.services import wallet_balance
from gaas.outbox.models import Mail
from payments import services
from payments.choices import ContractStatus
from payments.tests.deals import JAN, USD, bring_on, bucket, day, emptied, has, periods, rich, seen

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


class TestShortfall:
    def test_past_due_tried_again_and_paid(self, reserving, lab):
        contract = reserving()
        purse = emptied(lab)
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
        contract, purse = reserving(catch_up=catch_up), emptied(lab)
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

    @pytest.mark.parametrize("shortfall", ["retry", "skip"])
    def test_the_other_side_does_not_learn_what_the_payer_has(self, reserving, shortfall):
        contract = bring_on(reserving(price=2000 * USD, shortfall=shortfall), JAN)
        told = [contract.trouble, *contract.events.values_list("reason", flat=True)]
        told += [*contract.periods.values_list("reason", flat=True), *Mail.objects.values_list("body", flat=True)]
        assert any("The payer has too little." in text for text in told)
        assert not any("1000.0" in text for text in told)

    def test_or_that_period_is_left_out(self, reserving, lab):
        contract, purse = reserving(shortfall="skip"), emptied(lab)
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
