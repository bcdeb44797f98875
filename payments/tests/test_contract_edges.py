"""Contracts where clocks differ, contracts overlap, and who signs is not who pays."""

from __future__ import annotations

import time
from datetime import date, timedelta

import pytest
from rest_framework.test import APIClient

from accounts.choices import PaysFrom
from accounts.models import Account
from accounts.services import set_threshold
from accounts.services.keys import create_key
from gaas.lib import clock, ids
from gaas.lib.errors import NotAllowed
from gpus.models import Host
from payments import services
from payments.choices import ContractStatus
from payments.services import BadTerms, TermsWanted
from payments.tests.deals import (
    HOUR,
    JAN,
    USD,
    a_branch,
    agreed,
    an_owner,
    bring_on,
    bucket,
    day,
    drafted,
    has,
    rich,
    used,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


class TestWhatIsLeftOfAnAllowance:
    def test_what_a_server_with_a_slow_clock_spent_is_spent(self, giving, branch, lab, monkeypatch):
        rich(branch, hours=7)
        contract = bring_on(giving(roll_over="return"), JAN)
        slow = time.time_ns() - 3_000_000_000
        with monkeypatch.context() as server:
            server.setattr(ids, "_last", 0)
            server.setattr(ids.time, "time_ns", lambda: slow)
            used(branch, 4)
        bring_on(contract, day("2027-02-02"))
        assert (has(branch, "hours"), has(lab, "hours")) == (17, 986)

    def test_two_that_were_not_used_lapse_both(self, giving, branch):
        both = [bring_on(giving(roll_over="expire", ends_on=date(2027, 1, 2)), JAN) for _ in range(2)]
        assert has(branch, "hours") == 20
        for contract in both:
            bring_on(contract, day("2027-02-02"))
        assert has(branch, "hours") == 0

    def test_hours_that_run_do_not_become_money(self, giving, alice):
        contract = bring_on(giving(), JAN)
        with pytest.raises(BadTerms) as refusal:
            services.propose_terms(
                contract_id=contract.pk, terms=TermsWanted(asset="USD", amount=5 * USD), by=alice, now=JAN
            )
        assert refusal.value.attr == "amount_usd"


def test_several_that_came_late_last_as_long_as_others(lab, alice, olga):
    owner = an_owner(olga)
    rich(lab, usd=1000)
    contract = agreed(
        "reservation",
        lab,
        owner,
        starts="2027-01-01",
        at=JAN,
        by=alice,
        yes=olga,
        roll_over="expire",
    )
    late = day("2027-03-20")
    contract = bring_on(contract, late)
    assert bucket(contract) == 30
    Host.objects.filter(account=owner).update(last_sync_at=late + timedelta(days=3))
    assert bucket(bring_on(contract, day("2027-04-10"))) == 40
    assert bucket(bring_on(contract, day("2027-05-02"))) == 10


@pytest.mark.parametrize("seconds", [1, 3600])
def test_case_57_resumed_by_a_clock_that_went_back(giving, alice, seconds):
    contract = bring_on(giving(), JAN)
    services.pause_contract(contract_id=contract.pk, by=alice, now=JAN)
    services.resume_contract(contract_id=contract.pk, by=alice, now=JAN - timedelta(seconds=seconds))
    assert bring_on(contract, day("2027-02-01")).next_no == 2
    assert contract.pauses.filter(until_at=None).count() == 0


class TestOnePurse:
    """Money that a family pays to itself would be earnings that nobody paid."""

    @pytest.fixture
    def siblings(self, lab, alice, olga) -> tuple[Account, Account]:
        rich(lab, usd=1000)
        one, other = a_branch(lab, alice), an_owner(olga)
        Account.objects.filter(pk=other.pk).update(parent=lab, path=f"{lab.path}{other.pk}/")
        return one, Account.objects.get(pk=other.pk)

    def share(self, *accounts: Account) -> None:
        Account.objects.filter(pk__in=[account.pk for account in accounts]).update(pays_from=PaysFrom.PARENT)

    def propose(self, siblings, alice):
        one, other = (Account.objects.get(pk=account.pk) for account in siblings)
        return drafted("reservation", one, other, starts="2027-01-01", at=JAN, by=alice)

    def test_two_who_pay_from_their_parents_make_none(self, siblings, alice):
        self.share(*siblings)
        with pytest.raises(BadTerms) as refusal:
            self.propose(siblings, alice)
        assert (refusal.value.code, refusal.value.attr) == ("invalid_terms", "payee")

    def test_nor_who_pays_themselves_to_one_that_they_pay_for(self, siblings, lab, alice):
        self.share(siblings[1])
        with pytest.raises(BadTerms):
            self.propose((lab, siblings[1]), alice)

    def test_it_is_asked_again_at_the_signature(self, siblings, alice, olga):
        contract = self.propose(siblings, alice)
        self.share(*siblings)
        with pytest.raises(BadTerms) as refusal:
            services.accept_terms(contract_id=contract.pk, version=1, by=olga, now=JAN)
        assert refusal.value.attr == "payee"

    def test_and_before_each_period(self, siblings, alice, olga):
        contract = self.propose(siblings, alice)
        services.accept_terms(contract_id=contract.pk, version=1, by=olga, now=JAN)
        self.share(*siblings)
        contract = bring_on(contract, JAN)
        assert (contract.status, contract.next_no) == (ContractStatus.ENDED, 0)


class TestThreshold:
    @pytest.fixture
    def owner(self, olga) -> Account:
        return an_owner(olga)

    @pytest.fixture
    def limited(self, child, family, pat) -> Account:
        """A child that owns its account, pays from its family's and asks above ten dollars."""
        rich(family, usd=100)
        child.memberships.update(role="OWNER")
        set_threshold(account=child, asset="USD", above=10 * USD, by=pat)
        return child

    def test_a_child_signs_nothing_above_it(self, limited, owner, charlie, olga):
        when = {"starts": "2027-01-01", "at": JAN}
        drafted("reservation", limited, owner, by=charlie, price=10 * USD, **when)
        with pytest.raises(NotAllowed, match="10"):
            drafted("reservation", limited, owner, by=charlie, price=10 * USD + 1, **when)
        offered = drafted("reservation", limited, owner, by=olga, price=20 * USD, **when)
        with pytest.raises(NotAllowed):
            services.accept_terms(contract_id=offered.pk, version=1, by=charlie, now=JAN)
        offered.refresh_from_db()
        assert offered.status == ContractStatus.PROPOSED

    def test_nor_by_other_terms(self, limited, owner, charlie, olga):
        when = {"starts": "2027-01-01", "at": JAN}
        contract = drafted("reservation", limited, owner, by=charlie, price=5 * USD, **when)
        with pytest.raises(NotAllowed):
            services.propose_terms(
                contract_id=contract.pk,
                terms=TermsWanted(asset="GPU", amount=HOUR, price=50 * USD),
                by=charlie,
                now=JAN,
            )

    @pytest.mark.parametrize(("cap", "status"), [(None, 201), (1_000 * USD, 403)])
    def test_a_key_with_a_cap_signs_nothing_that_it_does_not_count(self, lab, owner, alice, cap, status):
        _, text = create_key(user=alice, name="robot", scopes=["payments:write"], cap_microusd=cap, now=clock.now())
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Api-Key {text}")
        body = {
            "kind": "reservation",
            "title": "Deal",
            "payer": str(lab.pk),
            "payee": str(owner.pk),
            "hours": "1",
            "price_usd": "5",
        }
        answer = client.post("/api/v1/contracts/", body, format="json", HTTP_IDEMPOTENCY_KEY="k1")
        assert answer.status_code == status, answer.content
