"""The workbench of contracts: their pages, their verbs as buttons, and the calendar of what is due."""

from __future__ import annotations

import pytest

from payments import services
from payments.choices import ContractStatus
from payments.models import Contract
from payments.tests.deals import a_branch, agreed, bring_on, day, rich

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]

JAN = day("2027-01-01")
URL = "/admin/payments/contract/"


@pytest.fixture
def contract(lab, alice, bob) -> Contract:
    rich(lab, hours=100)
    branch = a_branch(lab, bob)
    return bring_on(agreed("allowance", lab, branch, starts="2027-01-31", at=JAN, by=alice, yes=bob), day("2027-02-01"))


@pytest.fixture
def desk(client, fay):
    client.force_login(fay)
    return client


class TestPages:
    def test_a_contract_shows_its_terms_periods_and_events(self, desk, contract):
        page = desk.get(f"{URL}{contract.pk}/change/").content.decode()
        for said in ("10.000000 h", "Try again, then suspend", "2027-02-28 (UTC)", "PROPOSED", "ACTIVE"):
            assert said in page

    def test_the_list_leads_to_the_calendar(self, desk, contract):
        page = desk.get(URL).content.decode()
        assert "Deal" in page
        assert "/admin/payments/contract/calendar/" in page

    @pytest.mark.parametrize("model", ["contractterms", "contractperiod", "contractevent"])
    def test_its_parts_have_lists(self, desk, contract, model):
        assert desk.get(f"/admin/payments/{model}/").status_code == 200


class TestCalendar:
    def test_it_shows_what_was_done_and_what_is_due(self, desk, contract):
        page = desk.get(f"{URL}calendar/?month=2027-01").content.decode()
        assert "paid, period 0" in page
        page = desk.get(f"{URL}calendar/?month=2027-02").content.decode()
        assert "due, period 1" in page

    def test_nothing_after_a_cancel(self, desk, contract, alice):
        services.cancel_contract(contract_id=contract.pk, by=alice, now=day("2027-02-02"))
        assert "No period begins in this month" in desk.get(f"{URL}calendar/?month=2027-02").content.decode()

    @pytest.mark.parametrize("month", ["2027-13", "0001-01", "9999-01", "soon", "2027-1'--", ""])
    def test_what_is_no_month(self, desk, month):
        assert desk.get(f"{URL}calendar/", {"month": month}).status_code == 404

    def test_it_takes_the_permission(self, client, dana):
        dana.user_permissions.clear()
        client.force_login(dana)
        assert client.get(f"{URL}calendar/").status_code == 403


class TestVerbs:
    def test_pause_resume_cancel(self, desk, contract):
        for verb, status in (("pause", "PAUSED"), ("resume", "ACTIVE"), ("cancel", "ACTIVE")):
            answer = desk.post(f"{URL}{contract.pk}/{verb}/", {"reason": "They asked.", "confirmed": "1"}, follow=True)
            assert answer.status_code == 200
            assert Contract.objects.get().status == status, verb
        assert Contract.objects.get().stop_no is not None

    def test_what_is_due_is_processed_now(self, desk, contract):
        assert desk.post(f"{URL}{contract.pk}/look_now/", {"confirmed": "1"}).status_code == 302

    def test_who_may_only_view_sees_no_button(self, client, dana, contract):
        from django.contrib.auth.models import Permission

        dana.user_permissions.set(Permission.objects.filter(codename="view_contract"))
        client.force_login(dana)
        assert "Cancel at the period" not in client.get(f"{URL}{contract.pk}/change/").content.decode()
        assert client.post(f"{URL}{contract.pk}/cancel/", {"reason": "x"}).status_code == 403
        assert Contract.objects.get().status == ContractStatus.ACTIVE
