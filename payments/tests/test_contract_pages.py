"""The pages of contracts: proposed, read, accepted, changed and ended by people."""

from __future__ import annotations

import pytest

from accounts.models import Membership
from gaas.lib import clock
from payments import services
from payments.models import Contract
from payments.tests.deals import a_branch, an_owner, bring_on, rich

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

FORM = {
    "key": "once", "title": "Each month", "interval": "month", "time_zone": "UTC", "shortfall": "retry",
    "catch_up": "skip", "renewal": "none", "roll_over": "keep",
}  # fmt: skip


def page(client, user, account, contract=None):
    client.force_login(user)
    return client.get(f"/accounts/{account.pk}/contracts/" + (f"{contract.pk}/" if contract else ""))


def send(client, user, account, contract, verb, **data):
    client.force_login(user)
    path = f"/accounts/{account.pk}/contracts/" + (f"{contract.pk}/" if contract else "")
    return client.post(path, {"do": verb, "of": "", **data})


def test_a_reservation_from_the_form_to_its_end(client, lab, alice, olga):
    rich(lab, usd=100)
    owner = an_owner(olga)
    assert str(owner.pk) in page(client, alice, lab).content.decode()
    sent = {**FORM, "payee": str(owner.pk), "hours": "10", "price": "20", "gpu_model": "H100"}
    for _ in range(2):
        assert send(client, alice, lab, None, "reserve", **sent).status_code == 302
    contract = Contract.objects.get()
    told = page(client, olga, owner, contract).content.decode()
    for exactly in ("20.00 USD every month", "10 GPU-hours every month", "H100", "is tried again for some days"):
        assert exactly in told
    assert "Accept these terms" not in page(client, alice, lab, contract).content.decode()
    assert send(client, olga, owner, contract, "accept_terms", version=1).status_code == 302
    bring_on(Contract.objects.get(), clock.now())
    told = page(client, alice, lab, contract).content.decode()
    assert "Period 0" in told
    assert "Reserved hours left" in told
    changed = send(client, alice, lab, contract, "change_terms", amount="5", price="12", ends_on="")
    assert changed.status_code == 302
    assert "12.00 USD every month" in page(client, olga, owner, contract).content.decode()
    assert send(client, olga, owner, contract, "accept_terms", version=1).status_code == 409
    for verb in ("decline_terms", "pause_contract"):
        assert send(client, olga, owner, contract, verb, reason="So it is").status_code == 302
    assert "is paused" in page(client, alice, lab, contract).content.decode()
    assert send(client, alice, lab, contract, "resume_contract").status_code == 403
    assert send(client, olga, owner, contract, "resume_contract").status_code == 302
    assert send(client, alice, lab, contract, "cancel_contract").status_code == 302
    assert "was cancelled" in page(client, alice, lab, contract).content.decode()


def test_an_allowance_to_an_account_below(client, lab, alice, bob):
    branch = a_branch(lab, bob)
    sent = {**FORM, "payee": str(branch.pk), "asset": "USD", "amount": "5"}
    assert send(client, alice, lab, None, "offer_allowance", **sent).status_code == 302
    assert "gives 5.00 USD every month" in page(client, bob, branch, Contract.objects.get()).content.decode()


@pytest.mark.parametrize(
    "wrong", [{"amount": "0"}, {"amount": "-1"}, {"amount": "1e30"}, {"ends_on": "2020-01-01"}, {"time_zone": "Mars"}]
)
def test_what_is_wrong_is_said_beside_the_field(client, lab, alice, bob, wrong):
    branch = a_branch(lab, bob)
    sent = {**FORM, "payee": str(branch.pk), "asset": "GPU", "amount": "5", **wrong}
    answer = send(client, alice, lab, None, "offer_allowance", **sent)
    assert answer.status_code == 400
    assert 'role="alert"' in answer.content.decode()
    assert not Contract.objects.exists()


def test_who_may_not_act_sees_no_button(client, lab, alice, bob, charlie):
    branch = a_branch(lab, bob)
    Membership.objects.filter(account=lab, user=bob).update(role="VIEWER")
    send(client, alice, lab, None, "offer_allowance", **FORM, payee=str(branch.pk), asset="GPU", amount="5")
    contract = Contract.objects.get()
    Membership.objects.filter(account=branch).update(role="MEMBER")
    assert "<button>Accept" not in page(client, bob, lab, contract).content.decode()
    assert page(client, charlie, lab, contract).status_code == 404
    assert services.sides_of(contract, charlie) == []


def test_an_empty_page_says_what_there_could_be(client, charlie, bob, lab):
    assert "An allowance gives" in page(client, bob, lab).content.decode()
