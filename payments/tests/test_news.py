"""What webhooks hear of payouts, contracts, disputes and statements, and who is told that an allowance runs out."""

from __future__ import annotations

import json

import pytest
from django.db import transaction

from accounts.ledger.services import hold
from accounts.models import Account
from accounts.services import hours_balance
from accounts.services.budgets import alert_budgets
from gaas.lib import clock
from gaas.outbox.choices import EventType
from gaas.outbox.models import Mail, WebhookDelivery
from gaas.outbox.tests.hooks import a_webhook
from payments import services
from payments.choices import ContractStatus, DisputeStatus, PayoutStatus
from payments.models import Contract, Payout
from payments.news import event_of_contract, event_of_dispute, event_of_payout
from payments.services.statements import make_month
from payments.tests.conftest import USD, clerk
from payments.tests.deals import HOUR, a_branch, an_owner, bring_on, drafted, has, rich
from payments.tests.deals import agreed as a_deal
from payments.tests.deals import day as noon
from payments.tests.months import OCTOBER, moved, purse
from payments.tests.test_disputes import contest

pytestmark = pytest.mark.django_db
JAN = noon("2027-01-01")


@pytest.fixture
def gina(db):
    """A third one in finance."""
    return clerk("Gina")


def listening(account: Account) -> Account:
    a_webhook(account, events=EventType.values)
    return Account.objects.get(pk=account.pk)


def heard(prefix: str = "") -> list[tuple[str, dict]]:
    rows = WebhookDelivery.objects.filter(event__startswith=prefix).order_by("pk")
    return [(row.event, json.loads(row.body)["data"]) for row in rows]


def names(prefix: str) -> list[str]:
    return [event for event, _ in heard(prefix)]


class TestPayouts:
    def test_a_life_that_ends_well_and_comes_back(self, lab, agreed, fred, gina):
        listening(lab)
        payout = services.begin_sending(payout=agreed(40), by=fred, now=clock.now())
        services.note_payout_sent(payout=payout, reference="OUT-1", by=fred, now=clock.now())
        services.note_payout_returned(
            payout_id=payout.pk, total=40 * USD, reason="Wrong name", by=gina, now=clock.now()
        )
        assert names("payout.") == ["payout.requested", "payout.approved", "payout.paid", "payout.returned"]
        data = heard("payout.")[-1][1]
        assert (data["id"], data["amount_microusd"], data["returned_microusd"]) == (str(payout.pk), 40 * USD, 40 * USD)
        # Where it goes stays here.
        assert "DE89" not in json.dumps(heard())

    def test_no(self, lab, asked, fay):
        listening(lab)
        services.reject_payout(payout=asked(40), by=fay, reason="Who is this?", now=clock.now())
        event, data = heard("payout.")[-1]
        assert (event, data["failure"]) == ("payout.rejected", {"code": "rejected", "detail": "Who is this?"})

    def test_what_does_not_happen_is_not_told(self, lab, asked, fay):
        listening(lab)
        payout = asked(40)

        class Gone(Exception):
            """End a transaction."""

        def reject_and_fall():
            with transaction.atomic():
                services.reject_payout(payout=payout, by=fay, reason="No", now=clock.now())
                raise Gone

        with pytest.raises(Gone):
            reject_and_fall()
        assert names("payout.") == ["payout.requested"]


class TestContracts:
    def test_both_sides_hear_of_it(self, lab, alice, olga):
        owner = an_owner(olga)
        rich(lab, usd=1000)
        lab, owner = listening(lab), listening(owner)
        contract = a_deal("reservation", lab, owner, starts="2027-01-01", at=JAN, by=alice, yes=olga)
        services.pause_contract(contract_id=contract.pk, by=alice, now=JAN)
        services.resume_contract(contract_id=contract.pk, by=alice, now=JAN)
        services.cancel_contract(contract_id=contract.pk, by=alice, now=JAN)
        bring_on(contract, noon("2027-02-02"))
        told = ["proposed", "activated", "paused", "resumed", "ended"]
        assert names("contract.") == [f"contract.{word}" for word in told for _ in range(2)]
        data = heard("contract.")[-1][1]
        assert (data["payer"], data["payee"], data["status"]) == (str(lab.pk), str(owner.pk), "ENDED")

    def test_one_that_cannot_be_paid(self, lab, alice, olga, settings):
        settings.CONTRACT_TRIES = 1
        lab, owner = listening(lab), an_owner(olga)
        contract = a_deal("reservation", lab, owner, starts="2027-01-01", at=JAN, by=alice, yes=olga)
        bring_on(contract, JAN)
        assert names("contract.")[2:] == ["contract.past_due", "contract.suspended"]
        assert "could not be paid" in heard("contract.")[-1][1]["reason"]

    def test_a_draft_is_its_makers_own(self, lab, alice, bob):
        branch = listening(a_branch(lab, bob))
        rich(lab, hours=100)
        contract = drafted("allowance", lab, branch, starts="2027-01-01", at=JAN, by=alice, is_draft=True)
        services.decline(contract_id=contract.pk, by=alice, now=JAN, reason="No")
        assert names("contract.") == []


def test_disputes_say_what_is_owed(lab, paid):
    listening(lab)
    payment = paid(50)
    contest(payment, 20)
    services.close_dispute(provider_id="dp_1", won=True, now=clock.now())
    services.close_dispute(provider_id="dp_1", won=True, now=clock.now())
    contest(payment, 10, "dp_2")
    services.close_dispute(provider_id="dp_2", won=False, now=clock.now())
    assert names("dispute.") == ["dispute.opened", "dispute.won", "dispute.opened", "dispute.lost"]
    data = heard("dispute.")[0][1]
    assert (data["payment"], data["amount_microusd"], data["owed_microusd"]) == (str(payment.pk), 20 * USD, 0)


def test_statements_once_for_each(lab, alice):
    from accounts.ledger.services import platform_balance

    lab = listening(lab)
    moved(platform_balance(asset="USD", kind="clearing:test"), purse(lab), 5 * USD, OCTOBER)
    for _ in range(2):
        make_month(OCTOBER.date())
    ((event, data),) = heard("statement.")
    assert (event, data["kind"], data["month"]) == ("statement.made", "account", "2025-10")


class TestAllowance:
    def test_its_people_are_told_when_it_runs_out(self, lab, alice, bob):
        rich(lab, hours=100)
        branch = a_branch(lab, bob)
        bring_on(a_deal("allowance", lab, branch, starts="2027-01-01", at=JAN, by=alice, yes=bob), JAN)
        assert (has(branch, "hours"), alert_budgets(now=clock.now())) == (10, 0)
        hold(balance=hours_balance(branch), amount=10 * HOUR, key="task", purpose="task")
        assert [alert_budgets(now=clock.now()) for _ in range(2)] == [1, 0]
        letters = Mail.objects.filter(key__startswith="budget:")
        assert {letter.to for letter in letters} == {alice.email, bob.email}
        assert "10.000000 h of the 10.000000 h" in letters[0].body

    def test_what_lapsed_was_not_used(self, lab, alice, bob):
        rich(lab, hours=100)
        branch = a_branch(lab, bob)
        contract = a_deal("allowance", lab, branch, starts="2027-01-01", at=JAN, by=alice, yes=bob, roll_over="return")
        services.cancel_contract(contract_id=bring_on(contract, JAN).pk, by=alice, now=JAN)
        bring_on(contract, noon("2027-02-02"))
        assert (has(branch, "hours"), alert_budgets(now=clock.now())) == (0, 0)


def test_each_change_of_state_has_an_event_or_none():
    """A new state is either told or said here not to be."""
    quiet = {PayoutStatus.SENDING, PayoutStatus.UNKNOWN}
    for model, event, silent in (
        (Payout, event_of_payout, quiet),
        (Contract, event_of_contract, {ContractStatus.DECLINED}),
    ):
        for old, states in model.TRANSITIONS.items():
            for new in states - silent:
                assert event(old, new) in EventType.values
    assert [event_of_payout("APPROVED", new) for new in sorted(quiet)] == [None, None]
    assert all(event_of_dispute(state) in EventType.values for state in DisputeStatus)
