from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from accounts import services
from accounts.choices import PaysFrom
from accounts.ledger import services as ledger
from accounts.models import BudgetAlert
from accounts.services.budgets import alert_budgets
from accounts.tests.conftest import HOUR
from accounts.tests.test_caps import cap, hold
from gaas.lib import clock
from gaas.outbox.models import Mail

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


@pytest.fixture
def capped(form, head):
    form.pays_from = PaysFrom.PARENT
    form.save()
    cap(form, head, 10 * HOUR)
    return form


def percents():
    return list(BudgetAlert.objects.order_by("pk").values_list("percent", flat=True))


class TestCap:
    def test_below_80_nobody_is_told(self, capped):
        hold(capped, 8 * HOUR - 1, "a")
        assert alert_budgets(now=clock.now()) == 0

    def test_at_80_and_100_they_are_told_once(self, capped):
        hold(capped, 8 * HOUR, "a")
        assert [alert_budgets(now=clock.now()) for _ in range(3)] == [1, 0, 0]
        hold(capped, 2 * HOUR, "b")
        assert [alert_budgets(now=clock.now()) for _ in range(2)] == [1, 0]
        assert percents() == [80, 100]

    def test_who_manages_it_or_its_parent_gets_the_letter(self, capped, people):
        hold(capped, 10 * HOUR, "a")
        alert_budgets(now=clock.now())
        told = {"manager", "owner", "school_manager", "school_owner"}
        assert set(Mail.objects.values_list("to", flat=True)) == {people[name].email for name in told}
        body = Mail.objects.first().body
        assert "10.000000 h of the cap of 10.000000 h a month" in body
        assert "Form" in body

    def test_one_who_is_switched_off_gets_none(self, capped, people):
        people["manager"].is_active = False
        people["manager"].save()
        hold(capped, 10 * HOUR, "a")
        alert_budgets(now=clock.now())
        assert not Mail.objects.filter(to=people["manager"].email).exists()

    def test_the_next_period_is_told_anew(self, form, head):
        june = datetime(2026, 6, 15, tzinfo=UTC)
        form.pays_from = PaysFrom.PARENT
        form.save()
        cap(form, head, HOUR, period="total")
        services.remove_cap(rule=form.cap_rules.get(), by=head)
        for period in (june, june + timedelta(days=31)):
            services.set_cap(account=form, asset="GPU", period="month", limit=HOUR, by=head, now=period)
            hold(form, HOUR, f"{period}", now=period)
        assert alert_budgets(now=june) == alert_budgets(now=june + timedelta(days=31)) == 1

    def test_a_cap_of_nothing_tells_nobody(self, form, head):
        cap(form, head, 0)
        assert alert_budgets(now=clock.now()) == 0


class TestFunded:
    @pytest.fixture
    def funded(self, form, school, head):
        services.fund(account=school, to=form, asset="GPU", amount=10 * HOUR, by=head, key="f")
        return form

    def test_what_is_held_and_spent_counts(self, funded, school, head):
        held = hold(funded, 5 * HOUR, "a")
        used = ledger.platform_balance(asset="GPU", kind="used")
        leg = ledger.Leg(credit=used, amount=5 * HOUR, kind="usage", key="u")
        ledger.capture(hold_id=held.pk, legs=[leg], final=True)
        assert alert_budgets(now=clock.now()) == 0
        hold(funded, 3 * HOUR, "b")
        assert alert_budgets(now=clock.now()) == 1
        assert "8.000000 h of the 10.000000 h" in BudgetAlert.objects.get().detail

    def test_funded_again_it_begins_anew(self, funded, school, head):
        hold(funded, 10 * HOUR, "a")
        assert alert_budgets(now=clock.now()) == 1
        services.fund(account=school, to=funded, asset="GPU", amount=90 * HOUR, by=head, key="more")
        assert alert_budgets(now=clock.now()) == 0
        hold(funded, 90 * HOUR, "b")
        assert alert_budgets(now=clock.now()) == 1
        assert percents() == [100, 100]

    def test_what_is_taken_back_is_not_spent(self, funded, school, head):
        services.reclaim(account=school, source=funded, asset="GPU", amount=9 * HOUR, by=head, key="r")
        assert alert_budgets(now=clock.now()) == 0

    def test_an_account_that_nobody_funds_is_left_alone(self, alice):
        hold(alice.personal_account, 10 * HOUR, "a")
        assert alert_budgets(now=clock.now()) == 0
