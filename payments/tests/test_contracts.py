"""Agreements: who may propose and accept what, and what cannot be agreed."""

from __future__ import annotations

from datetime import date
from itertools import product

import pytest

from accounts.choices import PaysFrom
from accounts.models import Account, Membership
from gaas.audit.models import AuditEvent
from gaas.lib.errors import Conflict, DomainError, IllegalTransition, NotAllowed, NotFound
from gaas.outbox.models import Mail
from payments import services
from payments.choices import ContractStatus
from payments.models import Contract, ContractTerms
from payments.services import BadTerms, TermsChanged, TermsWanted
from payments.tests.deals import HOUR, USD, a_branch, agreed, an_owner, bring_on, day, drafted, rich

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

JAN = day("2027-01-01")


@pytest.fixture
def branch(lab, bob) -> Account:
    rich(lab, usd=100, hours=100)
    return a_branch(lab, bob)


@pytest.fixture
def offer(lab, branch, alice):
    """Propose an allowance to the branch."""

    def make(starts="2027-01-01", at=JAN, by=alice, payer=lab, payee=branch, **changes) -> Contract:
        return drafted("allowance", payer, payee, starts=starts, at=at, by=by, **changes)

    return make


def accept(contract, by, version=1, at=JAN):
    return services.accept_terms(contract_id=contract.pk, version=version, by=by, now=at)


def propose(contract, by, hours=5, at=JAN, **changes):
    terms = TermsWanted(asset="GPU", amount=hours * HOUR, **changes)
    return services.propose_terms(contract_id=contract.pk, terms=terms, by=by, now=at)


class TestAgreement:
    def test_both_sides_have_to_accept(self, lab, alice, olga):
        contract = drafted("reservation", lab, an_owner(olga), starts="2027-01-01", at=JAN, by=alice)
        assert contract.status == ContractStatus.PROPOSED
        with pytest.raises(Conflict):
            accept(contract, alice)
        contract = accept(contract, olga)
        terms = contract.terms.get()
        assert (contract.status, terms.effective_no) == (ContractStatus.ACTIVE, 0)
        assert (terms.payer_accepted_by, terms.payee_accepted_by) == (alice, olga)

    def test_whoever_acts_for_both_says_yes_twice(self, offer, alice):
        # Who manages the parent manages the branch.
        contract = offer()
        assert contract.status == ContractStatus.PROPOSED
        assert accept(contract, alice).status == ContractStatus.ACTIVE

    def test_the_other_side_may_want_other_terms(self, offer, alice, bob):
        contract = propose(offer(), bob, hours=20)
        with pytest.raises(TermsChanged):
            accept(contract, alice)
        contract = accept(contract, alice, version=2)
        assert contract.terms.get(effective_no=0).amount == 20 * HOUR
        assert contract.terms.get(version=1).declined_at is not None

    def test_declined_it_is_over(self, offer, bob):
        contract = services.decline(contract_id=offer().pk, by=bob, now=JAN, reason="Too little.")
        assert contract.status == ContractStatus.DECLINED
        with pytest.raises(Conflict):
            accept(contract, bob)

    def test_it_can_be_taken_back(self, offer, alice):
        assert services.cancel_contract(contract_id=offer().pk, by=alice, now=JAN).status == ContractStatus.DECLINED

    def test_a_draft_is_sent_by_its_maker(self, offer, alice, bob):
        contract = offer(is_draft=True)
        with pytest.raises(Conflict):
            propose(contract, bob)
        with pytest.raises(Conflict):
            accept(contract, bob)
        assert propose(contract, alice).status == ContractStatus.PROPOSED

    def test_declined_changes_leave_it_as_it_is(self, offer, alice, bob):
        contract = propose(accept(offer(), bob), alice)
        contract = services.decline(contract_id=contract.pk, by=bob, now=JAN, reason="No.", version=2)
        assert (contract.status, contract.terms.filter(effective_no=0).count()) == (ContractStatus.ACTIVE, 1)
        assert bring_on(contract, JAN).periods.get().amount == 10 * HOUR

    def test_both_are_written_to_and_it_is_in_the_trail(self, offer, bob):
        accept(offer(), bob)
        subjects = list(Mail.objects.values_list("to", "subject").order_by("id"))
        assert ("bob@example.test", "Deal: terms to accept") in subjects
        assert {to for to, subject in subjects if subject == "Deal: accepted"} == {
            "alice@example.test",
            "bob@example.test",
        }
        assert AuditEvent.objects.filter(action="contract.active").count() == 1

    def test_accepted_late_it_does_not_begin_in_the_past(self, offer, bob, branch):
        contract = accept(offer(starts="2027-01-15"), bob, at=day("2027-03-20"))
        contract = bring_on(contract, day("2027-04-20"))
        assert [str(row.due_at.date()) for row in contract.periods.all()] == ["2027-04-15"]

    def test_accepted_after_its_end_it_does_not_begin_at_all(self, offer, bob):
        contract = offer(ends_on=date(2027, 2, 1))
        with pytest.raises(BadTerms):
            accept(contract, bob, at=day("2027-03-01"))
        assert Contract.objects.get().status == ContractStatus.PROPOSED

    def test_what_is_cancelled_takes_no_new_terms(self, offer, alice, bob):
        contract = propose(accept(offer(), bob), alice)
        services.cancel_contract(contract_id=contract.pk, by=alice, now=JAN)
        with pytest.raises(Conflict):
            accept(contract, bob, version=2)
        with pytest.raises(Conflict):
            services.cancel_contract(contract_id=contract.pk, by=bob, now=JAN)

    def test_new_terms_may_move_the_end(self, offer, alice, bob):
        contract = bring_on(accept(offer(ends_on=date(2027, 2, 1)), bob), JAN)
        contract = accept(propose(contract, alice, ends_on=date(2027, 4, 1)), bob, version=2)
        contract = bring_on(contract, day("2027-05-01"))
        assert (contract.status, contract.next_no) == (ContractStatus.ENDED, 3)


class TestWho:
    def test_members_and_strangers_act_for_nobody(self, offer, lab, bob, charlie, dana):
        contract = offer()
        Membership.objects.filter(account=contract.payee).update(role="MEMBER")
        for by in (bob, charlie, dana):
            for verb in (accept, propose):
                with pytest.raises(NotAllowed):
                    verb(contract, by)
            with pytest.raises(NotAllowed):
                services.decline(contract_id=contract.pk, by=by, now=JAN, reason="")

    def test_staff_pause_and_cancel_but_accept_nothing(self, offer, bob, dana):
        contract = accept(offer(), bob)
        contract = services.pause_contract(contract_id=contract.pk, by=dana, now=JAN)
        contract = services.resume_contract(contract_id=contract.pk, by=dana, now=JAN)
        assert services.cancel_contract(contract_id=contract.pk, by=dana, now=JAN).stop_no == 1

    def test_a_pause_is_ended_by_who_made_it(self, lab, olga, alice):
        rich(lab, usd=100)
        contract = agreed("reservation", lab, an_owner(olga), starts="2027-01-01", at=JAN, by=alice, yes=olga)
        services.pause_contract(contract_id=contract.pk, by=olga, now=JAN)
        with pytest.raises(NotAllowed):
            services.resume_contract(contract_id=contract.pk, by=alice, now=JAN)
        assert services.resume_contract(contract_id=contract.pk, by=olga, now=JAN).status == ContractStatus.ACTIVE

    def test_an_owner_alone_reserves(self, lab, olga, alice, bob):
        rich(lab, usd=100)
        owner = an_owner(olga)
        Membership.objects.filter(account=lab, user=bob).update(role="MANAGER")
        with pytest.raises(NotAllowed):
            drafted("reservation", lab, owner, starts="2027-01-01", at=JAN, by=bob)
        assert drafted("reservation", lab, owner, starts="2027-01-01", at=JAN, by=alice).pk

    def test_only_of_who_offers_gpus(self, lab, olga, alice):
        owner = Account.objects.create(name="Nothing to offer")
        with pytest.raises(NotFound):
            drafted("reservation", lab, owner, starts="2027-01-01", at=JAN, by=alice)


class TestBadInput:
    def test_a_contract_with_itself(self, offer, lab):
        with pytest.raises(BadTerms, match="one purse"):
            offer(payee=lab)

    def test_a_child_reserves_nothing_of_who_pays_for_it(self, lab, alice):
        below = a_branch(lab, alice)
        Account.objects.filter(pk=below.pk).update(pays_from=PaysFrom.PARENT)
        below.refresh_from_db()
        with pytest.raises(BadTerms):
            drafted("reservation", below, lab, starts="2027-01-01", at=JAN, by=alice)

    def test_not_upwards_nor_sideways(self, offer, lab, branch, alice, bob):
        Membership.objects.create(account=branch, user=alice, role="OWNER")
        with pytest.raises(BadTerms, match="below"):
            offer(payer=branch, payee=lab)
        with pytest.raises(BadTerms, match="below"):
            offer(payee=Account.objects.create(name="Other"))

    @pytest.mark.parametrize("amount", [0, -1, 10**30, 1.5, True, None, "7"])
    def test_amounts(self, offer, amount):
        with pytest.raises(BadTerms):
            offer(amount=amount)

    @pytest.mark.parametrize(
        ("changes", "attr"),
        [
            ({"ends_on": date(2026, 12, 31)}, "ends_on"),
            ({"ends_on": date(2027, 1, 1)}, "ends_on"),
            ({"ends_on": date(9999, 1, 1)}, "ends_on"),
            ({"renewal": "renew"}, "renewal"),
            ({"price": USD}, "price_usd"),
            ({"gpu_model": "H100"}, "gpu_model"),
            ({"asset": "USD", "amount": USD, "roll_over": "expire"}, "roll_over"),
            ({"time_zone": "Mars/Olympus"}, "time_zone"),
            ({"starts": "2026-12-31"}, "starts_on"),
            ({"starts": "9998-12-31"}, "starts_on"),
            ({"anchor_on": date(1, 1, 1)}, "anchor_on"),
        ],
    )
    def test_what_cannot_be_kept(self, offer, changes, attr):
        with pytest.raises(DomainError) as refusal:
            offer(**changes)
        assert refusal.value.attr == attr
        assert not ContractTerms.objects.exists()

    @pytest.mark.parametrize(
        "changes", [{"price": 0}, {"asset": "USD"}, {"roll_over": "return"}, {"amount": 0}, {"price": -1}]
    )
    def test_no_reservation(self, lab, olga, alice, changes):
        owner = an_owner(olga)
        with pytest.raises(BadTerms):
            drafted("reservation", lab, owner, starts="2027-01-01", at=JAN, by=alice, **changes)

    def test_an_anchor_on_the_31st_far_away(self, offer, bob):
        contract = accept(offer(anchor_on=date(2000, 1, 31), starts="2027-02-01", at=JAN), bob)
        assert str(contract.schedule.day(0)) == "2027-02-28"

    def test_closed_and_dependent_accounts(self, offer, branch):
        Account.objects.filter(pk=branch.pk).update(pays_from=PaysFrom.PARENT)
        branch.refresh_from_db()
        with pytest.raises(DomainError) as refusal:
            offer()
        assert refusal.value.code == "pays_from_parent"
        Account.objects.filter(pk=branch.pk).update(pays_from=PaysFrom.SELF, closed_at=JAN)
        branch.refresh_from_db()
        with pytest.raises(DomainError) as refusal:
            offer()
        assert refusal.value.code == "account_closed"


class TestStates:
    def test_every_pair(self, lab, branch, alice, bob):
        contract = agreed("allowance", lab, branch, starts="2027-01-01", at=JAN, by=alice, yes=bob)
        for old, new in product(ContractStatus, ContractStatus):
            over = {ContractStatus.ENDED, ContractStatus.DECLINED}
            Contract.objects.filter(pk=contract.pk).update(status=old, ended_at=JAN if old in over else None)
            row = Contract.objects.get(pk=contract.pk)
            ended = {"ended_at": JAN if new in over else None}
            if new in Contract.TRANSITIONS[old]:
                assert row._move_to(new, by=None, now=JAN, **ended)
            elif new == old:
                assert not row._move_to(new, by=None, now=JAN, **ended)
            else:
                with pytest.raises(IllegalTransition):
                    row._move_to(new, by=None, now=JAN, **ended)
