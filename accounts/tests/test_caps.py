from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from accounts import services
from accounts.choices import PaysFrom
from accounts.ledger import services as ledger
from accounts.ledger.models import Cap
from accounts.models import Account, CapRule
from accounts.periods import period_of
from accounts.tests.conftest import HOUR, USD
from gaas.audit.models import AuditEvent
from gaas.lib import clock

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sound_books")]


@pytest.fixture
def url(form):
    return f"/api/v1/accounts/{form.pk}/caps/"


@pytest.fixture
def paying_up(form, school):
    """Let the form spend the school's hours."""
    form.pays_from = PaysFrom.PARENT
    form.save()
    return form


def cap(account, by, limit, period="month", asset="GPU", now=None):
    return services.set_cap(account=account, asset=asset, period=period, limit=limit, by=by, now=now or clock.now())


def hold(account, amount, key, now=None, asset="GPU"):
    """Hold as a submit does, for an account."""
    spending = services.spending_of(account=account, asset=asset, now=now or clock.now())
    balance = services.hours_balance(spending.payer) if asset == "GPU" else services.wallet_balance(spending.payer)
    return ledger.hold(
        balance=balance, amount=amount, key=key, purpose="test", caps=spending.caps, spender=spending.spender
    )


class TestPeriods:
    @pytest.mark.parametrize(
        ("period", "now", "starts", "ends"),
        [
            ("day", "2026-02-28T23:59:59", "2026-02-28", "2026-03-01"),
            ("week", "2026-03-01T12:00:00", "2026-02-23", "2026-03-02"),
            ("week", "2026-03-02T00:00:00", "2026-03-02", "2026-03-09"),
            ("month", "2024-02-29T12:00:00", "2024-02-01", "2024-03-01"),
            ("month", "2026-12-31T23:59:59", "2026-12-01", "2027-01-01"),
        ],
    )
    def test_they_follow_the_calendar_of_utc(self, period, now, starts, ends):
        found = period_of(period, datetime.fromisoformat(now).replace(tzinfo=UTC))
        assert [moment.date().isoformat() for moment in found] == [starts, ends]

    def test_a_moment_elsewhere_is_one_of_utc(self):
        late = datetime.fromisoformat("2026-03-01T01:00:00+02:00")
        assert period_of("month", late)[0].month == 2

    def test_in_total_never_begins_anew(self):
        assert period_of("total", clock.now())[1].year == 9999


class TestCap:
    def test_it_is_set_changed_shown_and_lifted(self, api, head, url, form):
        client = api(head)
        made = client.post(url, {"period": "month", "hours": "5"}, format="json")
        assert made.status_code == 201
        body = made.json()
        assert (body["hours"], body["used"], body["left"], body["amount_usd"]) == (
            "5.000000",
            "0.000000",
            "5.000000",
            None,
        )
        assert client.post(url, {"period": "month", "hours": "7"}, format="json").json()["id"] == body["id"]
        assert [row["hours"] for row in client.get(url).json()["results"]] == ["7.000000"]
        assert client.delete(f"{url}{body['id']}/").status_code == 204
        assert client.delete(f"{url}{body['id']}/").status_code == 404
        assert AuditEvent.objects.filter(action__in=["account.set_cap", "account.remove_cap"]).count() == 3

    def test_a_root_has_none(self, api, people, school):
        answer = api(people["school_owner"]).post(
            f"/api/v1/accounts/{school.pk}/caps/", {"period": "day", "hours": "1"}, format="json"
        )
        assert answer.status_code == 409
        # Who may set none anyway is told that.
        viewer = api(people["school_viewer"])
        answer = viewer.post(f"/api/v1/accounts/{school.pk}/caps/", {"period": "day", "hours": "1"}, format="json")
        assert answer.status_code == 403

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"period": "day"},
            {"period": "year", "hours": "1"},
            {"period": "day", "hours": 1.5},
            {"period": "day", "hours": "-1"},
            {"period": "day", "hours": "1", "amount_usd": "1"},
            {"period": "day", "hours": "9" * 30},
            {"period": "day", "hours": "1", "used": "0"},
        ],
    )
    def test_bad_bodies_are_refused(self, api, head, url, body):
        assert api(head).post(url, body, format="json").status_code == 400
        assert not CapRule.objects.exists()

    def test_zero_is_a_cap(self, api, head, url, paying_up):
        assert api(head).post(url, {"period": "total", "hours": "0"}, format="json").status_code == 201
        with pytest.raises(ledger.CapExceeded):
            hold(paying_up, 1, "h")


class TestCounting:
    def test_it_counts_whoever_pays(self, form, school, head, people):
        """A cap bounds the holds of a subtree on its own balance, and on its parent's."""
        services.fund(account=school, to=form, asset="GPU", amount=50 * HOUR, by=head, key="f")
        cap(form, head, 10 * HOUR)
        hold(form, 6 * HOUR, "own")
        services.set_pays_from(account=form, pays_from="PARENT", by=head)
        form.refresh_from_db()
        hold(form, 4 * HOUR, "parents")
        with pytest.raises(ledger.CapExceeded):
            hold(form, 1, "more")

    def test_it_counts_the_whole_subtree(self, paying_up, head):
        groups = [Account.objects.create(name=f"G{n}", parent=paying_up, pays_from=PaysFrom.PARENT) for n in (1, 2)]
        cap(paying_up, head, 10 * HOUR)
        hold(groups[0], 6 * HOUR, "a")
        with pytest.raises(ledger.CapExceeded) as refused:
            hold(groups[1], 5 * HOUR, "b")
        assert refused.value.left == 4 * HOUR

    def test_every_ancestors_cap_counts(self, paying_up, head, people):
        group = Account.objects.create(name="Group", parent=paying_up, pays_from=PaysFrom.PARENT)
        cap(paying_up, head, 10 * HOUR)
        cap(group, people["manager"], 3 * HOUR, period="day")
        with pytest.raises(ledger.CapExceeded):
            hold(group, 4 * HOUR, "a")
        hold(group, 3 * HOUR, "b")
        hold(paying_up, 7 * HOUR, "c")
        assert sorted(Cap.objects.values_list("used", flat=True)) == [3 * HOUR, 10 * HOUR]

    def test_day_and_month_that_begin_together_are_two(self, paying_up, head):
        first = datetime(2026, 6, 1, 12, tzinfo=UTC)
        cap(paying_up, head, 10 * HOUR, "month", now=first)
        cap(paying_up, head, 4 * HOUR, "day", now=first)
        hold(paying_up, 4 * HOUR, "a", now=first)
        with pytest.raises(ledger.CapExceeded):
            hold(paying_up, 1, "b", now=first)
        hold(paying_up, 4 * HOUR, "c", now=first + timedelta(days=1))

    def test_money_is_capped_apart(self, paying_up, head):
        cap(paying_up, head, 5 * USD, asset="USD")
        hold(paying_up, HOUR, "hours")
        hold(paying_up, 5 * USD, "money", asset="USD")
        with pytest.raises(ledger.CapExceeded):
            hold(paying_up, 1, "more", asset="USD")

    def test_a_release_gives_back_to_the_period_of_the_hold(self, paying_up, head):
        june, july = datetime(2026, 6, 30, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
        cap(paying_up, head, 10 * HOUR, now=june)
        old = hold(paying_up, 8 * HOUR, "old", now=june)
        hold(paying_up, 9 * HOUR, "new", now=july)
        ledger.release(hold_id=old.pk)
        used = {
            row.starts_at.month: row.used
            for row in Cap.objects.filter(
                starts_at__gte=datetime(2026, 6, 1, tzinfo=UTC), starts_at__lt=datetime(2026, 8, 1, tzinfo=UTC)
            )
        }
        assert used == {6: 0, 7: 9 * HOUR}

    def test_what_was_held_before_the_cap_counts(self, paying_up, head):
        old = hold(paying_up, 8 * HOUR, "old")
        cap(paying_up, head, 10 * HOUR)
        with pytest.raises(ledger.CapExceeded):
            hold(paying_up, 3 * HOUR, "new")
        ledger.release(hold_id=old.pk)
        hold(paying_up, 10 * HOUR, "whole")

    def test_below_what_is_used_nothing_more_is_held_until_enough_came_back(self, paying_up, head):
        old = [hold(paying_up, 4 * HOUR, f"old{n}") for n in range(2)]
        rule = cap(paying_up, head, 5 * HOUR)
        services.add_standing([rule], now=clock.now())
        assert (rule.standing.used, rule.limit) == (8 * HOUR, 5 * HOUR)
        with pytest.raises(ledger.CapExceeded):
            hold(paying_up, 1, "new")
        ledger.release(hold_id=old[0].pk)
        with pytest.raises(ledger.CapExceeded):
            hold(paying_up, HOUR + 1, "still too much")
        hold(paying_up, HOUR, "fits")

    def test_what_was_held_while_it_was_lifted_counts_once_it_is_back(self, paying_up, head):
        first = cap(paying_up, head, 10 * HOUR)
        hold(paying_up, 2 * HOUR, "a")
        services.remove_cap(rule=first, by=head)
        hold(paying_up, 5 * HOUR, "b")
        cap(paying_up, head, 10 * HOUR)
        with pytest.raises(ledger.CapExceeded):
            hold(paying_up, 3 * HOUR + 1, "c")
        hold(paying_up, 3 * HOUR, "d")

    def test_raised_it_lets_more_through_at_once(self, paying_up, head):
        cap(paying_up, head, HOUR)
        hold(paying_up, HOUR, "a")
        cap(paying_up, head, 2 * HOUR)
        hold(paying_up, HOUR, "b")

    def test_the_refusal_names_the_cap_its_account_and_when_it_renews(self, paying_up, head):
        cap(paying_up, head, 2 * HOUR)
        found = services.cap_refusal(account=paying_up, asset="GPU", amount=3 * HOUR, now=clock.now())
        try:
            hold(paying_up, 3 * HOUR, "a")
        except ledger.CapExceeded as over:
            met = services.explain_cap(over)
        assert found.detail == met.detail
        assert (met.code, met.status) == ("cap_exceeded", 400)
        for part in ("Form", "2.000000 h a month", f"{period_of('month', clock.now())[1]:%Y-%m-%d %H:%M} UTC"):
            assert part in met.detail
